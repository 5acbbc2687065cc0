"""How every command prints, and the exit codes that scripts can use.

    0  done
    1  the operation failed or was refused
    2  wrong usage or configuration
    3  refused by a gate: somebody would break now; it may open later
    4  not done yet: it waits for a second person
    5  under way and not done yet when `--timeout` was over: it goes on

Results, and errors with `--output json`, go to standard output, everything else to standard error. Colour
only on a terminal.
"""

from __future__ import annotations

import contextlib
import enum
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import typer

from meshca.errors import ConfigError, MeshcaError
from meshca.printable import printable

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_GATE = 3
EXIT_WAITS = 4
EXIT_UNDER_WAY = 5
GATE = "gate_closed"  # the reason of what a gate refuses


class Format(enum.StrEnum):
    """What `--output` takes."""

    TEXT = "text"
    JSON = "json"


Output = Annotated[Format, typer.Option("--output", "-o", help="How to print: text for people, json for scripts.")]


def emit(value: Mapping[str, Any] | Sequence[Any], text: str, output: Format) -> None:
    """Print a result: `value` as one JSON document, or `text` as it is."""
    sys.stdout.write((json.dumps(value, indent=2, default=str) if output is Format.JSON else text) + "\n")


def emit_line(value: Mapping[str, Any]) -> None:
    """Print a JSON document of one line, at once: one of several."""
    sys.stdout.write(json.dumps(value, default=str) + "\n")
    sys.stdout.flush()


def table(rows: Sequence[Mapping[str, object]], columns: Sequence[str]) -> str:
    """Rows as aligned columns under a heading, or `(none)`."""
    if not rows:
        return "(none)"
    cells = [[column.upper().replace("_", " ") for column in columns]]
    cells += [[str(row.get(column, "")) for column in columns] for row in rows]
    widths = [max(len(line[index]) for line in cells) for index in range(len(columns))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells
    )


@contextlib.contextmanager
def reporting_errors(output: Format = Format.TEXT) -> Iterator[None]:
    """Turn an error of ours into an exit code and lines on standard error, or a JSON document; no traceback.

    The document is `{"error": {"source", "problems"}}` or `{"error": {"reason", "detail"}}` on standard output, in
    one line.
    """
    try:
        yield
    except ConfigError as error:
        if output is Format.JSON:
            emit_line({"error": {"source": error.source, "problems": error.problems}})
        else:
            _complain(f"{error.source}:", *(f"  - {problem}" for problem in error.problems))
        raise typer.Exit(EXIT_USAGE) from None
    except MeshcaError as error:
        if output is Format.JSON:
            emit_line({"error": {"reason": error.reason, "detail": error.detail}})
        else:
            _complain(f"{error.detail} ({error.reason})")
        raise typer.Exit(EXIT_GATE if error.reason == GATE else EXIT_FAILED) from None


def _complain(*lines: str) -> None:
    """Print each line as one line: a detail may quote what somebody else wrote."""
    typer.echo("error: " + "\n".join(map(printable, lines)), err=True)

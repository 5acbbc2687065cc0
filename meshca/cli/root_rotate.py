"""`meshca root rotate`: the whole rotation by one command, and its progress for as long as somebody watches.

Watching is not doing: whoever stops watching, or loses the server, stops nothing, and the same command goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from meshca.authority.gate import LEFT_BEHIND
from meshca.authority.lifecycle import Act
from meshca.cli import root_text
from meshca.cli.admin_socket import ConfigFile, Socket, ask
from meshca.cli.columns import exact, iso
from meshca.cli.output import (
    EXIT_FAILED,
    EXIT_UNDER_WAY,
    Format,
    Output,
    emit,
    emit_line,
    reporting_errors,
)
from meshca.cli.root_acts import Window
from meshca.cli.root_asking import Reason, Yes, act, check_planned, check_reason, chosen, confirm, tell, window_of
from meshca.duration import parse_duration
from meshca.errors import ConfigError, Unavailable
from meshca.printable import printable

if TYPE_CHECKING:
    from meshca.app.admin_client import AdminClient
    from meshca.authority.history import Change, Record
    from meshca.rotation.report import Forecast, RootReport

TRIES: Final = 30  # to reach a server again that restarts
PAUSE: Final = 2.0  # seconds between two
LOOKED_BACK: Final = 300  # changes, for who lost trust: a rotation is a few for each replica
EXIT_INTERRUPTED: Final = 130  # as shells say of a program that was interrupted
ACTIVE: Final = "active"

Compromised = Annotated[
    bool,
    typer.Option(
        "--compromised",
        help="Its key is stolen; it is dropped when the window ends, whoever breaks. Needs --reason.",
    ),
]
Stolen = Annotated[
    str | None,
    typer.Option(
        "--root",
        help="With --compromised: the id of the root whose key is stolen, where two have signed.",
        metavar="ID",
        show_default="the active one",
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Only say what would be done, who would hold it up, and who would break.")
]
Wait = Annotated[bool, typer.Option("--wait", help="Show progress until it is done; Ctrl-C stops only that.")]
Timeout = Annotated[
    str | None,
    typer.Option(help="With --wait: stop watching after so long, such as 30m.", show_default="never"),
]
Told = Callable[["RootReport"], None]


def rotate(
    compromised: Compromised = False,
    root: Stolen = None,
    window: Window = None,
    dry_run: DryRun = False,
    wait: Wait = False,
    timeout: Timeout = None,
    yes: Yes = False,
    reason: Reason = "",
    socket: Socket = None,
    config: ConfigFile = None,
    output: Output = Format.TEXT,
) -> None:
    """Replace the active root by a new one, each step as soon as it is safe; asked again, it goes on.

    Exit codes:
    0 begun; with --wait: done
    1 failed, refused or given up
    2 wrong usage
    3 refused by a gate: somebody would break now
    4 not begun: it waits for a second person
    5 under way, and not done when --timeout was over; it goes on
    130 watching was interrupted; it goes on

    With --wait and --output json each change is a JSON document of one line, and so is how it ended.

    Example, what would happen: meshca root rotate --dry-run

    Example, planned: meshca root rotate --wait --reason "yearly rotation"

    Example, a stolen key: meshca root rotate --compromised --window 5m --wait --reason "backup tape lost"
    """
    with reporting_errors(output):
        span, seconds = window_of(window), _seconds(timeout, wait=wait)
        if not compromised:
            check_planned({"--root": root, "--window": window})
        stolen = _stolen(socket, config, root) if root is not None else ""
        forecast: Forecast | None = None
        if dry_run or compromised:
            forecast = ask(
                socket,
                config,
                lambda client: client.roots.forecast(compromised=compromised, window=span, root=stolen),
            )
            if dry_run:
                emit(root_text.plain(forecast), root_text.forecast(forecast), output)
                return
            check_reason("--compromised", reason)
            confirm(root_text.forecast(forecast), "rotate, whoever breaks?", yes=yes)
        answer = act(
            socket,
            config,
            lambda roots: roots.rotate(compromised=compromised, window=span, reason=reason, root=stolen),
        )
    new = answer.root
    if answer.waiting is not None or new is None or not wait:
        goes_on = f"rotating to root {root_text.short(new.id)}; `meshca root status` shows how far" if new else ""
        tell(answer, goes_on, output)
        return
    with reporting_errors(output), _interruptible():
        ended = watched(socket, config, new, output, seconds)
    _end(ended, forecast, new, output)


@dataclass(frozen=True, slots=True)
class Ended:
    """How the roots stand after the rotation, and what was done last, newest first."""

    report: RootReport
    changes: Sequence[Change]


def watched(
    socket: Path | None, config: Path | None, new: Record, output: Format, seconds: float | None = None
) -> Ended:
    """Show progress until the rotation to a root is over, for so many seconds at most.

    Raises:
        Unavailable: the server cannot be reached again.
        typer.Exit: it is not over in time.
    """
    failures = 0
    until = None if seconds is None else time.monotonic() + seconds

    async def question(client: AdminClient) -> Ended | None:
        nonlocal failures
        async with asyncio.timeout(None if until is None else until - time.monotonic()):
            async for report in client.roots.watch():
                failures = 0
                told(report)
                if over(report, new):
                    return Ended(report, await client.roots.changes(limit=LOOKED_BACK))
        return None  # the server ended the stream in peace

    with _telling(output) as told:
        while True:
            try:
                ended = ask(socket, config, question)
            except Unavailable as error:
                failures += 1
                if failures > TRIES:
                    raise
                typer.echo(f"not reached ({error.detail}); the rotation goes on, looking again", err=True)
            except TimeoutError:
                typer.echo(
                    "not done yet; the rotation goes on, `meshca root status` shows what it waits for", err=True
                )
                raise typer.Exit(EXIT_UNDER_WAY) from None
            else:
                if ended is not None:
                    return ended
            time.sleep(PAUSE)


def over(report: RootReport, new: Record) -> bool:
    """Whether the rotation to a root is not under way any more."""
    return report.plan is None or report.plan.new != new.id


def line(report: RootReport, now: datetime) -> str:
    """One step of the progress in one line, whole, with who holds it up: it is for logs, not for terminals."""
    found = report.gate
    gate = f" [{'open' if found.open else 'closed'}, {found.ready} of {found.of}]" if found else ""
    held = f"; held up by {root_text.holders(found)}" if found and found.stragglers and not found.open else ""
    return f"{iso(now)}  {printable(report.next_step or 'done')}{gate}{held}"


@contextlib.contextmanager
def _telling(output: Format) -> Iterator[Told]:
    """Where progress goes: a live picture on a terminal, otherwise a line for whatever differs."""
    if output is Format.JSON:
        yield lambda report: emit_line({"at": exact(datetime.now(UTC)), "progress": root_text.plain(report)})
    elif sys.stdout.isatty():
        from rich.live import Live
        from rich.text import Text

        with Live(Text(""), transient=True) as live:
            yield lambda report: live.update(Text(root_text.progress(report), overflow="fold"))
    else:
        yield _lines()


def _lines() -> Told:
    shown = ""

    def told(report: RootReport) -> None:
        nonlocal shown
        text = line(report, datetime.now(UTC))
        if (what := text.partition("  ")[2]) != shown:
            shown = what
            typer.echo(text)

    return told


def _stolen(socket: Path | None, config: Path | None, root: str) -> str:
    """The id of the root that is named."""

    async def question(client: AdminClient) -> str:
        return chosen(await client.roots.records(), root).id

    return ask(socket, config, question)


def _seconds(timeout: str | None, *, wait: bool) -> float | None:
    """For how long is watched; None for ever.

    Raises:
        ConfigError: it is no duration, or nothing is watched.
    """
    if timeout is None:
        return None
    if not wait:
        raise ConfigError("--timeout", ["it says how long --wait watches; give both"])
    try:
        return parse_duration(timeout).total_seconds()
    except ValueError as error:
        raise ConfigError("--timeout", [str(error)]) from None


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("the rotation goes on without you; `meshca root rotate --wait` watches it again", err=True)
        raise typer.Exit(EXIT_INTERRUPTED) from None


def _end(ended: Ended, foreseen: Forecast | None, new: Record, output: Format) -> None:
    """Say how it ended, also who was foreseen to lose trust, and who did.

    Raises:
        typer.Exit: the new root does not sign.
    """
    states = {one.record.id: one.record.state.value for one in ended.report.authorities}
    signs = states.get(new.id) == ACTIVE
    text = f"done: root {root_text.short(new.id)} signs" if signs else "given up: the root before signs"
    lost = tuple(_lost(ended.changes, new)) if signs else ()
    value = {
        "done": signs,
        "root": new.id,
        "foreseen": root_text.plain(foreseen.losers if foreseen else ()),
        "lost": root_text.plain(lost),
        "report": root_text.plain(ended.report),
    }
    if output is Format.JSON:
        emit_line(value)
    else:
        emit(value, f"{text}\n\nWHO LOST TRUST\n{root_text.changes(lost)}" if lost else text, output)
    if not signs:
        raise typer.Exit(EXIT_FAILED)


def _lost(changes: Sequence[Change], new: Record) -> Iterator[Change]:
    """The changes of the rotation to a root, or back to it, that dropped one although somebody was not ready."""
    for one in changes:
        if one.authority == new.id and one.act in {None, Act.PLAN, Act.RESTORE}:
            return
        if one.act is Act.RETIRE and LEFT_BEHIND in one.guard:
            yield one

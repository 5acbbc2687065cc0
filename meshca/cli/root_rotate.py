"""`meshca root rotate`: the whole rotation by one command, and its progress for as long as somebody watches.

Watching is not doing: whoever stops watching, or loses the server, stops nothing, and the same command goes on.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from meshca.cli import root_text
from meshca.cli.admin_socket import ConfigFile, Socket, ask
from meshca.cli.columns import WIDTH, fit, iso
from meshca.cli.output import EXIT_FAILED, Format, Output, emit, reporting_errors
from meshca.cli.root_acts import Window
from meshca.cli.root_asking import Reason, Yes, act, check_reason, confirm, tell, window_of
from meshca.errors import Unavailable

if TYPE_CHECKING:
    from meshca.app.admin_client import AdminClient
    from meshca.authority.history import Record
    from meshca.rotation.report import RootReport

TRIES: Final = 30  # to reach a server again that restarts
PAUSE: Final = 2.0  # seconds between two
EXIT_INTERRUPTED: Final = 130  # as shells say of a program that was interrupted
ACTIVE: Final = "active"

Compromised = Annotated[
    bool,
    typer.Option(
        "--compromised", help="Its key is not ours alone; it is dropped when the window ends. Needs --reason."
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done, and who would break.")]
Wait = Annotated[bool, typer.Option("--wait", help="Show progress until it is done; Ctrl-C stops only that.")]
Told = Callable[["RootReport"], None]


def rotate(
    compromised: Compromised = False,
    window: Window = None,
    dry_run: DryRun = False,
    wait: Wait = False,
    yes: Yes = False,
    reason: Reason = "",
    socket: Socket = None,
    config: ConfigFile = None,
    output: Output = Format.TEXT,
) -> None:
    """Replace the active root by a new one, each step as soon as it is safe; asked again, it goes on.

    Exit codes: 0 begun, or done with --wait; 1 failed or given up; 2 wrong usage; 3 refused by a gate; 4 waits for
    a second person.

    Example, what would happen: meshca root rotate --dry-run

    Example, planned: meshca root rotate --wait --reason "yearly rotation"

    Example, a stolen key: meshca root rotate --compromised --window 5m --wait --reason "backup tape lost"
    """
    with reporting_errors(output):
        span = window_of(window)
        if dry_run or compromised:
            forecast = ask(
                socket, config, lambda client: client.roots.forecast(compromised=compromised, window=span)
            )
            if dry_run:
                emit(root_text.plain(forecast), root_text.forecast(forecast), output)
                return
            check_reason("--compromised", reason)
            confirm(root_text.forecast(forecast), "rotate, whoever breaks?", yes=yes)
        answer = act(
            socket, config, lambda roots: roots.rotate(compromised=compromised, window=span, reason=reason)
        )
    new = answer.root
    if answer.waiting is not None or new is None or not wait:
        goes_on = f"rotating to root {root_text.short(new.id)}; `meshca root status` shows how far" if new else ""
        tell(answer, goes_on, output)
        return
    with reporting_errors(output), _interruptible():
        reports = watched(socket, config, new, output)
    _end(reports, new, output)


@dataclass(frozen=True, slots=True)
class Reports:
    """What was seen last: of the rotation, if it was seen at all, and after it."""

    during: RootReport | None
    after: RootReport


def watched(socket: Path | None, config: Path | None, new: Record, output: Format) -> Reports:
    """Show progress until the rotation to a root is over.

    Raises:
        Unavailable: the server cannot be reached again.
    """
    during: RootReport | None = None
    failures = 0

    async def question(client: AdminClient) -> RootReport | None:
        nonlocal during, failures
        async for report in client.roots.watch():
            failures = 0
            told(report)
            if over(report, new):
                return report
            during = report
        return None  # the server ended the stream in peace

    with _telling(output) as told:
        while True:
            try:
                after = ask(socket, config, question)
            except Unavailable as error:
                failures += 1
                if failures > TRIES:
                    raise
                typer.echo(f"not reached ({error.detail}); the rotation goes on, looking again", err=True)
            else:
                if after is not None:
                    return Reports(during, after)
            time.sleep(PAUSE)


def over(report: RootReport, new: Record) -> bool:
    """Whether the rotation to a root is not under way any more."""
    return report.plan is None or report.plan.new != new.id


def line(report: RootReport, now: datetime) -> str:
    """One step of the progress, in one line."""
    found = report.gate
    gate = f" [{'open' if found.open else 'closed'}, {found.ready} of {found.of}]" if found else ""
    paused = "paused: " if report.plan and report.plan.paused else ""
    return f"{iso(now)}  {fit(paused + (report.next_step or 'done'), WIDTH - 22 - len(gate))}{gate}"


@contextlib.contextmanager
def _telling(output: Format) -> Iterator[Told]:
    """Where progress goes: a live picture on a terminal, otherwise a line for whatever differs; none as JSON."""
    if output is Format.JSON:
        yield lambda _: None
    elif sys.stdout.isatty():
        from rich.live import Live
        from rich.text import Text

        with Live(Text(""), transient=True) as live:
            yield lambda report: live.update(Text(root_text.status(report)))
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


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("the rotation goes on without you; `meshca root rotate --wait` watches it again", err=True)
        raise typer.Exit(EXIT_INTERRUPTED) from None


def _end(reports: Reports, new: Record, output: Format) -> None:
    """Say how it ended; after a compromised rotation also who was not ready at the end.

    Raises:
        typer.Exit: the new root does not sign.
    """
    states = {one.record.id: one.record.state.value for one in reports.after.authorities}
    signs = states.get(new.id) == ACTIVE
    text = f"done: root {root_text.short(new.id)} signs" if signs else "given up: the root before signs"
    lost = _lost(reports) if signs else ""
    value = {"done": signs, "root": new.id, "report": root_text.plain(reports.after)}
    emit(value, f"{text}\n\n{lost}" if lost else text, output)
    if not signs:
        raise typer.Exit(EXIT_FAILED)


def _lost(reports: Reports) -> str:
    """Who was still not ready when a compromised root was dropped; nobody when no leaf below it was left."""
    report = reports.during
    if report is None or report.plan is None or not report.plan.compromised or report.gate is None:
        return ""
    left = {one.record.id: one.leaves for one in reports.after.authorities}
    if reports.after.fleet is not None and left.get(report.plan.old) == 0:
        return ""
    return root_text.stragglers(report.gate.stragglers, report.gate.unnamed, "WHO MAY HAVE LOST TRUST")

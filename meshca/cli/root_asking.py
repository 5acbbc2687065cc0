"""What every command that acts on roots shares: which root is meant, are you sure, and what became of it."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from meshca.cli import root_text
from meshca.cli.admin_socket import ask
from meshca.cli.output import EXIT_FAILED, EXIT_WAITS, Format, emit
from meshca.duration import format_duration, parse_duration
from meshca.errors import ConfigError, NotFound
from meshca.printable import printable

if TYPE_CHECKING:
    from meshca.app.admin_client import AdminClient
    from meshca.app.root_client import RootClient
    from meshca.authority.history import Record, Request
    from meshca.rpc.root_messages import Answer

Reason = Annotated[
    str, typer.Option(help="Why; kept in the history, which says so if none is given.", show_default=False)
]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask whether you are sure.")]
Id = Annotated[str, typer.Argument(help="The root's id, or as much of its beginning as is unique.", metavar="ID")]
RequestId = Annotated[str, typer.Argument(help="The request's id; see `meshca requests`.", metavar="ID")]
LEAST: Final = 4  # characters of an id
_HEX: Final = re.compile(r"[0-9a-f]+")


def chosen(records: Sequence[Record], text: str) -> Record:
    """The root or intermediate whose id begins so; colons and upper case are fine.

    Raises:
        ConfigError: it is no beginning of an id, or of several.
        NotFound: there is none.
    """
    wanted = text.replace(":", "").lower()
    if len(wanted) < LEAST or not _HEX.fullmatch(wanted):
        raise ConfigError("ID", [f"expected {LEAST} or more hexadecimal digits of an id; see `meshca root list`"])
    found = [one for one in records if one.id.startswith(wanted)]
    if len(found) > 1:
        raise ConfigError("ID", [f"{len(found)} ids begin with {wanted}; give more of it"])
    if not found:
        raise NotFound("root", f"no id begins with {wanted}; see `meshca root list`")
    return found[0]


def window_of(text: str | None) -> timedelta | None:
    """The window of a flag.

    Raises:
        ConfigError: it is none, or too long.
    """
    from meshca.config.rotation import LONGEST_WINDOW

    try:
        window = None if text is None else parse_duration(text)
    except ValueError as error:
        raise ConfigError("--window", [str(error)]) from None
    if window is not None and window > LONGEST_WINDOW:
        raise ConfigError("--window", [f"expected at most {format_duration(LONGEST_WINDOW)}"])
    return window


def check_planned(given: Mapping[str, str | None]) -> None:
    """Refuse what says something of a stolen key where none is.

    Raises:
        ConfigError: it names the flag.
    """
    for flag, value in given.items():
        if value is not None:
            raise ConfigError(flag, ["it is for a root whose key is stolen; give --compromised as well"])


def check_reason(flag: str, reason: str) -> None:
    """Refuse what is dangerous without a reason, before anything is asked.

    Raises:
        ConfigError: there is none.
    """
    if not reason.strip():
        raise ConfigError("--reason", [f"{flag} needs a reason, which is kept in the history"])


def confirm(consequences: str, question: str, *, yes: bool) -> None:
    """Show what would break, and go on only if somebody is sure.

    Raises:
        typer.Exit: they are not.
    """
    typer.echo(consequences, err=True)
    if not yes and not typer.confirm(question, err=True):
        typer.echo("nothing was done", err=True)
        raise typer.Exit(EXIT_FAILED)


def consequences(
    socket: Path | None,
    config: Path | None,
    act: Literal["activate", "taint", "retire"],
    root: str,
    reason: str,
    window: timedelta | None = None,
) -> str:
    """What an act would do that waits for nobody, and who would break.

    Raises:
        MeshcaError: as `ask`.
    """

    async def question(client: AdminClient) -> str:
        id_ = chosen(await client.roots.records(), root).id
        return root_text.forecast(await client.roots.foresee(act, id_, reason, window))

    return ask(socket, config, question)


def act(socket: Path | None, config: Path | None, do: Callable[[RootClient], Awaitable[Answer]]) -> Answer:
    """Ask for an act.

    Raises:
        MeshcaError: as `ask`.
    """

    async def question(client: AdminClient) -> Answer:
        return await do(client.roots)

    return ask(socket, config, question)


def tell(answer: Answer, done: str, output: Format) -> None:
    """Print what became of an act.

    Raises:
        typer.Exit: it was not done but waits for a second person.
    """
    text = f"{done}; warning: {printable(answer.warning)}" if answer.warning else done
    if answer.waiting is not None:
        text = "\n".join(["not done yet: it waits for a second person", *root_text.request(answer.waiting)])
    value = {
        "done": answer.waiting is None,
        "root": answer.root.id if answer.root else None,
        "waiting": document_of(answer),
        "warning": answer.warning or None,
    }
    emit(value, text, output)
    if answer.waiting is not None:
        raise typer.Exit(EXIT_WAITS)


def document_of(answer: Answer) -> dict[str, object] | None:
    """What waits, as scripts get it."""
    return None if answer.waiting is None else asked_for(answer.waiting)


def asked_for(request: Request) -> dict[str, object]:
    """What somebody asked for, as scripts get it: without the message that would be sent."""
    return {name: value for name, value in root_text.plain(request).items() if name != "body"}

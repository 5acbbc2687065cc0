"""`meshca root prepare|activate|taint|retire|pause|resume|abort`: single steps, each through its gate."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated

import typer

from meshca.cli.admin_socket import ConfigFile, Socket
from meshca.cli.output import Format, Output, reporting_errors
from meshca.cli.root_asking import (
    Id,
    Reason,
    Yes,
    act,
    check_reason,
    chosen,
    confirm,
    consequences,
    tell,
    window_of,
)
from meshca.cli.root_text import short

if TYPE_CHECKING:
    from meshca.app.root_client import RootClient
    from meshca.rpc.root_messages import Answer

Force = Annotated[
    bool,
    typer.Option("--force", help="Although its gate is closed: shows who would break, and asks. Needs --reason."),
]
Stolen = Annotated[
    bool,
    typer.Option(
        "--compromised",
        help="Say so where the rotation replaces a root whose key is stolen. Needs --reason.",
    ),
]
SameKey = Annotated[
    bool,
    typer.Option(
        "--same-key", help="Use the key of the active root again, to lengthen its life; never after a theft."
    ),
]
Window = Annotated[
    str | None,
    typer.Option(help="Within which leaves are replaced, such as 5m; 0s is at once.", show_default="configured"),
]


def prepare(
    same_key: SameKey = False,
    reason: Reason = "",
    socket: Socket = None,
    config: ConfigFile = None,
    output: Output = Format.TEXT,
) -> None:
    """Make a root, with a new key unless --same-key is given, and begin to distribute it; it signs nothing yet.

    Example: meshca root prepare --reason "yearly rotation"
    """
    with reporting_errors(output):
        answer = act(socket, config, lambda roots: roots.prepare(same_key=same_key, reason=reason))
    made = short(answer.root.id) if answer.root else ""
    tell(answer, f"root {made} is being distributed; `meshca root status` shows who trusts it", output)


def activate(
    root: Id,
    force: Force = False,
    yes: Yes = False,
    reason: Reason = "",
    socket: Socket = None,
    config: ConfigFile = None,
    output: Output = Format.TEXT,
) -> None:
    """Sign below a root that is distributing from now on; refused with exit code 3 until the workloads trust it.

    Example: meshca root activate 3f9c02d1
    """
    with reporting_errors(output):
        if force:
            check_reason("--force", reason)
            shown = consequences(socket, config, "activate", root, reason)
            confirm(shown, "sign below it although they would break?", yes=yes)
        answer = act(socket, config, _on(root, lambda roots, id_: roots.activate(id_, force=force, reason=reason)))
    tell(answer, "certificates are signed below it from now on", output)


def taint(
    root: Id,
    window: Window = None,
    yes: Yes = False,
    reason: Reason = "",
    socket: Socket = None,
    config: ConfigFile = None,
    output: Output = Format.TEXT,
) -> None:
    """Have every certificate below a root replaced because its key is stolen, and drop it then. Needs --reason.

    Shows who would lose trust, and asks. It must not sign any more: activate another first, or do all of it by
    `meshca root rotate --compromised`.

    Example: meshca root taint 3f9c02d1 --window 5m --reason "backup tape lost"
    """
    with reporting_errors(output):
        check_reason("tainting", reason)
        span = window_of(window)
        shown = consequences(socket, config, "taint", root, reason, span)
        confirm(shown, "drop it when the window ends, whoever breaks?", yes=yes)
        answer = act(socket, config, _on(root, lambda roots, id_: roots.taint(id_, window=span, reason=reason)))
    tell(answer, "certificates below it are being replaced; `meshca root status` shows how far that is", output)


def retire(
    root: Id,
    force: Force = False,
    yes: Yes = False,
    reason: Reason = "",
    socket: Socket = None,
    config: ConfigFile = None,
    output: Output = Format.TEXT,
) -> None:
    """Trust a root no more and delete its key; refused with exit code 3 while certificates below it are in use.

    It must not sign any more: activate another first.

    Example: meshca root retire 3f9c02d1
    """
    with reporting_errors(output):
        if force:
            check_reason("--force", reason)
            shown = consequences(socket, config, "retire", root, reason)
            confirm(shown, "drop it although they would break?", yes=yes)
        answer = act(socket, config, _on(root, lambda roots, id_: roots.retire(id_, force=force, reason=reason)))
    tell(answer, "it is trusted no more, and its key is deleted", output)


def pause(
    compromised: Stolen = False,
    reason: Reason = "",
    socket: Socket = None,
    config: ConfigFile = None,
    output: Output = Format.TEXT,
) -> None:
    """Take no step of the rotation by itself until `meshca root resume`; what was given out stays.

    Example: meshca root pause --reason "the shop is busy"
    """
    with reporting_errors(output):
        _check_stolen(reason, compromised=compromised)
        answer = act(socket, config, lambda roots: roots.pause(compromised=compromised, reason=reason))
    how = " --compromised" if compromised else ""
    tell(answer, f"paused; `meshca root resume{how}` goes on", output)


def resume(
    compromised: Stolen = False,
    reason: Reason = "",
    socket: Socket = None,
    config: ConfigFile = None,
    output: Output = Format.TEXT,
) -> None:
    """Take steps of the rotation by itself again, as their gates open.

    Example: meshca root resume
    """
    with reporting_errors(output):
        _check_stolen(reason, compromised=compromised)
        answer = act(socket, config, lambda roots: roots.resume(compromised=compromised, reason=reason))
    tell(answer, "going on; `meshca root status` shows the next step", output)


def abort(
    compromised: Stolen = False,
    reason: Reason = "",
    socket: Socket = None,
    config: ConfigFile = None,
    output: Output = Format.TEXT,
) -> None:
    """Give the rotation up: the root before signs again; refused once nobody trusts that root any more.

    Example: meshca root abort --reason "not this week"
    """
    with reporting_errors(output):
        _check_stolen(reason, compromised=compromised)
        answer = act(socket, config, lambda roots: roots.abort(compromised=compromised, reason=reason))
    tell(answer, "given up; the root before signs", output)


def _check_stolen(reason: str, *, compromised: bool) -> None:
    if compromised:
        check_reason("--compromised", reason)


def _on(
    text: str, do: Callable[[RootClient, str], Awaitable[Answer]]
) -> Callable[[RootClient], Awaitable[Answer]]:
    """An act on the root that a user means."""

    async def done(roots: RootClient) -> Answer:
        return await do(roots, chosen(await roots.records(), text).id)

    return done

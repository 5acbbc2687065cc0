"""`meshca approve`: the second person of an act that needs two."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from meshca.cli import root_text
from meshca.cli.admin_socket import ConfigFile, Socket, ask
from meshca.cli.output import Format, Output, reporting_errors
from meshca.cli.root_asking import Reason, Yes, act, confirm, consequences, tell
from meshca.errors import NotFound

if TYPE_CHECKING:
    from meshca.app.admin_client import AdminClient
    from meshca.authority.history import Request


def command(
    request: Annotated[str, typer.Argument(help="The request's id; see `meshca requests`.", metavar="ID")],
    yes: Yes = False,
    reason: Reason = "",
    socket: Socket = None,
    config: ConfigFile = None,
    output: Output = Format.TEXT,
) -> None:
    """Do what another administrator has asked for; shows it, and who would break. It is done once.

    Example: meshca approve 0123abcd --reason "looked at the stragglers with Ann"
    """

    async def question(client: AdminClient) -> Request:
        for one in await client.roots.requests():
            if one.id == request:
                return one
        raise NotFound("request", "no such request waits; it may be done or its time over: see `meshca requests`")

    with reporting_errors(output):
        waiting = ask(socket, config, question)
        shown = "\n".join(root_text.request(waiting))
        confirm(f"{shown}\n\n{consequences(socket, config)}", "do it?", yes=yes)
        answer = act(socket, config, lambda roots: roots.approve(request, reason))
    tell(answer, "done", output)

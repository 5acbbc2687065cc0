"""`meshca requests`: what waits for a second person."""

from __future__ import annotations

from meshca.cli import root_text
from meshca.cli.admin_socket import ConfigFile, Socket, ask
from meshca.cli.output import Format, Output, emit, reporting_errors
from meshca.cli.root_asking import asked_for


def command(socket: Socket = None, config: ConfigFile = None, output: Output = Format.TEXT) -> None:
    """List the acts that wait until another administrator approves them.

    Example: meshca requests
    """
    with reporting_errors(output):
        found = ask(socket, config, lambda client: client.roots.requests())
    emit([asked_for(one) for one in found], root_text.requests(found), output)

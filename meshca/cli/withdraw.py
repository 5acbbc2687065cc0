"""`meshca withdraw`: takes back what one has asked for oneself and nobody has approved yet."""

from __future__ import annotations

from meshca.cli import root_text
from meshca.cli.admin_socket import ConfigFile, Socket, ask
from meshca.cli.output import Format, Output, emit, reporting_errors
from meshca.cli.root_asking import RequestId, asked_for


def command(
    request: RequestId,
    socket: Socket = None,
    config: ConfigFile = None,
    output: Output = Format.TEXT,
) -> None:
    """Take back what you have asked for and what waits for another administrator.

    Example: meshca withdraw 0123abcd
    """
    with reporting_errors(output):
        found = ask(socket, config, lambda client: client.roots.withdraw(request))
    emit(asked_for(found), "\n".join(["taken back", *root_text.wrapped(found.says, "    ")]), output)

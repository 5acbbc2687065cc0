"""`meshca deny`: has what somebody asked for not be done, for a second person who does not approve it."""

from __future__ import annotations

from meshca.cli import root_text
from meshca.cli.admin_socket import ConfigFile, Socket, ask
from meshca.cli.output import Format, Output, emit, reporting_errors
from meshca.cli.root_asking import Reason, RequestId, asked_for, check_reason


def command(
    request: RequestId,
    reason: Reason = "",
    socket: Socket = None,
    config: ConfigFile = None,
    output: Output = Format.TEXT,
) -> None:
    """Have what an administrator asked for not be done; it can be asked for again. Needs --reason.

    Example: meshca deny 0123abcd --reason "not before the weekend"
    """
    with reporting_errors(output):
        check_reason("denying", reason)
        found = ask(socket, config, lambda client: client.roots.deny(request, reason=reason))
    emit(asked_for(found), "\n".join(["denied", *root_text.wrapped(found.says, "    ")]), output)

"""`meshca approve`: the second person of an act that needs two."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshca.cli import root_text
from meshca.cli.admin_socket import ConfigFile, Socket, ask
from meshca.cli.output import Format, Output, reporting_errors
from meshca.cli.root_asking import Reason, RequestId, Yes, act, confirm, tell
from meshca.errors import NotFound

if TYPE_CHECKING:
    from meshca.app.admin_client import AdminClient
    from meshca.authority.history import Request
    from meshca.rotation.report import Forecast


def command(
    request: RequestId,
    yes: Yes = False,
    reason: Reason = "",
    socket: Socket = None,
    config: ConfigFile = None,
    output: Output = Format.TEXT,
) -> None:
    """Do what another administrator has asked for, once; shows it, and who would break by all of it as of now.

    It is refused when more or others would break by then than were shown; of a stolen root that is told and
    stops nothing. What is refused waits on.

    Exit codes:
    0 done
    1 refused, or not wanted
    3 refused by a gate: somebody would break now

    Example: meshca approve 0123abcd --reason "looked at the stragglers with Ann"
    """

    async def question(client: AdminClient) -> tuple[Request, Forecast]:
        for one in await client.roots.requests():
            if one.id == request:
                return one, await client.roots.foresee_request(request)
        raise NotFound("request", "no such request waits; it may be done or its time over: see `meshca requests`")

    with reporting_errors(output):
        waiting, forecast = ask(socket, config, question)
        shown = [*root_text.request(waiting), "", root_text.forecast(forecast)]
        if (more := forecast.breaks - waiting.breaks) > 0:
            shown += ["", f"{more} more would break than when it was asked for"]
        confirm("\n".join(shown), "do it?", yes=yes)
        answer = act(socket, config, lambda roots: roots.approve(request, reason=reason, shown=forecast))
    tell(answer, "done", output)

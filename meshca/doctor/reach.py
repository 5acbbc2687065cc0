"""Whether the API server answers, as whom, and whether its clock is ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

from meshca.doctor.finding import Said, ok, unknown, wrong
from meshca.doctor.permission import account_of, subject_of
from meshca.doctor.site import Site
from meshca.errors import Unavailable
from meshca.identity.service_account import ServiceAccount

WHOAMI: Final = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
LARGEST_SKEW: Final = timedelta(seconds=10)  # the leeway for tokens that are checked by the cluster's keys


@dataclass(frozen=True, slots=True, kw_only=True)
class Me:
    """As whom the doctor asks.

    Attributes:
        username: as the API server calls us.
        account: the service account, if we are one.
        extra: further facts, such as the pod that our token is bound to.
    """

    username: str
    account: ServiceAccount | None
    extra: Mapping[str, Sequence[str]] = field(default_factory=dict)


async def me(site: Site) -> Me:
    """Who we are to the API server (SelfSubjectReview, Kubernetes 1.28).

    Raises:
        Unavailable: it does not say.
    """

    async def asked() -> Me:
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        user = (await site.looking.server.create(WHOAMI, body))["status"]["userInfo"]
        name = str(user["username"])
        return Me(username=name, account=account_of(name), extra=user.get("extra") or {})

    return await site.looking.once("me", asked)


async def api_server(site: Site) -> Said:
    """It answers, and believes us."""
    try:
        version = await site.looking.server.get("/version")
        who = await me(site)
    except Unavailable as error:
        return wrong(error.detail, *_way(site))
    site.looking.subject = subject_of(who.username)
    return ok(f"{version.get('gitVersion', 'of an unknown version')}, asked as {who.username}")


def _way(site: Site) -> tuple[str, str]:
    way = site.kubernetes.kubeconfig
    where = f"the server and the credentials in {way}" if way else "KUBERNETES_SERVICE_HOST and the pod's token"
    return f"check {where}, and the network between", "without it new callers with tokens get Unavailable"


async def clock_skew(site: Site) -> Said:
    """Our clock agrees with the API server's."""
    await site.looking.server.get("/version")
    said, now = site.looking.server.answered_at, site.clock.now()
    try:
        there = parsedate_to_datetime(said)
    except ValueError:
        return unknown("the API server's answer carries no date")
    return judge_skew(there, now)


def judge_skew(there: datetime, now: datetime) -> Said:
    """What two clocks mean; the other one is told in whole seconds."""
    ahead = now - there - timedelta(milliseconds=500)
    seconds = abs(ahead.total_seconds())
    if abs(ahead) <= LARGEST_SKEW + timedelta(milliseconds=500):
        return ok(f"within {max(1, round(seconds))} s of the API server's clock")
    side = "ahead of" if ahead > timedelta(0) else "behind"
    return wrong(
        f"this clock is {round(seconds)} s {side} the API server's",
        "set both nodes' clocks by the same time servers (chronyc tracking, timedatectl); certificates and tokens"
        " are not valid yet, or no longer, for whoever is that far off",
    )

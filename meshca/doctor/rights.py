"""Whether the server's account has every permission that its configuration needs (SelfSubjectAccessReview)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from meshca.doctor.finding import Said, ok, some, wrong
from meshca.doctor.needed import needed
from meshca.doctor.permission import Permission, grant
from meshca.doctor.reach import me
from meshca.doctor.site import Site

ASK: Final = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
AT_ONCE: Final = 8  # questions under way


async def permissions(site: Site) -> Said:
    """Each is asked about; nothing is tried."""
    wanted = needed(site.config, site.kubernetes, site.namespace)
    who = await me(site)
    places = asyncio.Semaphore(AT_ONCE)

    async def has(permission: Permission) -> bool:
        async with places:
            body = {
                "apiVersion": "authorization.k8s.io/v1",
                "kind": "SelfSubjectAccessReview",
                "spec": permission.question(),
            }
            answer = await site.looking.server.create(ASK, body)
            return answer["status"].get("allowed") is True

    allowed = await asyncio.gather(*map(has, wanted))
    missing = [permission for permission, found in zip(wanted, allowed, strict=True) if not found]
    return judge(missing, len(wanted), who.username, site.looking.subject)


def judge(missing: Sequence[Permission], count: int, username: str, subject: str) -> Said:
    """What is missing, and how each is granted."""
    if not missing:
        return ok(f"{username} has all {count} that this configuration needs")
    lacks = f"{username} lacks {len(missing)} of {count}: {some([str(one) for one in missing])}"
    return wrong(lacks, *(_mend(one, subject) for one in missing))


def _mend(permission: Permission, subject: str) -> str:
    command = grant(permission, subject)
    how = f"chart value {permission.value}" if " " not in permission.value else f"the chart ({permission.value})"
    return f"{permission}: {how}" + (f", or: {command}" if command else "")

"""A real namespace of a real server: nothing of what we ask needs the whole server."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshca.app.openbao_mount import sign_leaves
from meshca.app.vault import check, least_policy
from meshca.doctor.finding import Verdict
from meshca.doctor.vault_checks import LEAF_CHECKS
from tests.e2e.rotation.live_ca import live_ca
from tests.e2e.vault.below import settings
from tests.real.openbao import OpenBao, in_namespace, new_mount

pytestmark = pytest.mark.real("openbao")
ROLE = "mesh-leaf"


async def test_in_a_namespace(openbao: OpenBao, place: Path) -> None:
    """With the printed policy every check is ok; our intermediate is signed there, and so is a workload's leaf."""
    team = await in_namespace(openbao)
    mount = await new_mount(team, token={"token_no_default_policy": True})
    await sign_leaves(team, mount, ROLE, "cluster.local")
    there = settings(team, mount, place, sign_leaves={"role": ROLE})
    await team.call("PUT", f"sys/policies/acl/{mount.path}", {"policy": least_policy(None, there).text})
    found = {one.name: one.verdict async for one in check(None, 20, sign=True, environ=there)}
    assert found == dict.fromkeys(LEAF_CHECKS, Verdict.OK) | {"vault-mount": Verdict.UNKNOWN}
    async with live_ca(place, there) as ca:
        issued = await ca.server.create(ca.server.token(pod="web"))
    assert [pem.strip() for pem in issued.answer.cert_chain[1:]] == [mount.root]

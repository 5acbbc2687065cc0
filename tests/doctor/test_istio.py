"""All checks together."""

from __future__ import annotations

from meshca.doctor.examine import examine
from meshca.doctor.finding import Verdict
from meshca.doctor.istio import CHECKS, ROOT_CHECKS
from meshca.errors import Unavailable
from tests.fakes.doctor import FakeMesh


async def verdicts(mesh: FakeMesh) -> dict[str, Verdict]:
    """Of each check."""
    return {one.name: one.verdict async for one in examine(CHECKS, mesh.site(), 10)}


async def test_a_mesh_that_is_well() -> None:
    """Every check is ok."""
    assert await verdicts(FakeMesh()) == dict.fromkeys(CHECKS, Verdict.OK)


async def test_without_an_api_server() -> None:
    """That one is wrong; nothing else is said to be, and our own server tells of the roots."""
    mesh = FakeMesh()
    mesh.server.down = Unavailable("kube_unreachable", "gone")
    of_roots = dict.fromkeys((*ROOT_CHECKS, "root-retired"), Verdict.OK)
    found = await verdicts(mesh)
    assert found == dict.fromkeys(CHECKS, Verdict.UNKNOWN) | {"api-server": Verdict.WRONG} | of_roots

"""A root, a stolen root and an intermediate are replaced below two real Envoys under load; no request fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshca.authority.history import Kind
from meshca.authority.lifecycle import Act, State
from tests.e2e.rotation.live_ca import LiveCa, live_ca, until
from tests.e2e.rotation.mesh import running_mesh

pytestmark = pytest.mark.real("envoy")
SHORT = {"MESHCA__SVID__DEFAULT_LIFETIME": "20s"}


async def test_planned(place: Path) -> None:
    """One command replaces the root: 0 failed requests, 0 refused handshakes, 0 resumed."""
    async with live_ca(place, SHORT) as ca, running_mesh(place, ca) as mesh:
        async with mesh.load() as load:
            await load.is_answered()
            done = await ca.run("root", "rotate", "--wait", "--reason", "yearly")
            await load.is_answered()
        assert (done.code, done.value["done"]) == (0, True), done
        assert await ca.states() == [State.RETIRED, State.ACTIVE]
        roots = [change for change in await ca.history() if change.kind is Kind.ROOT]
        assert [change.act for change in roots if change.forced] == []
        guards = {change.act: change.guard for change in roots}
        assert guards[Act.ACTIVATE].startswith("2 of 2 workloads trust")
        assert guards[Act.RETIRE].startswith("no workload holds a certificate below")


async def test_compromised(place: Path) -> None:
    """Certificates of a day are replaced within a window of seconds, and the stolen root is dropped."""
    async with live_ca(place, {}) as ca, running_mesh(place, ca) as mesh:
        async with mesh.load() as load:
            await load.is_answered()
            flags = ("--compromised", "--window", "4s", "--yes", "--wait", "--reason", "backup tape lost")
            done = await ca.run("root", "rotate", *flags)
            await load.is_answered()
        assert (done.code, done.value["done"]) == (0, True), done
        assert await ca.states() == [State.RETIRED, State.ACTIVE]
        acts = [change.act for change in await ca.history() if change.kind is Kind.ROOT]
        assert acts[-4:] == [Act.SUPERSEDE, Act.ACTIVATE, Act.TAINT, Act.RETIRE]


async def test_intermediate(place: Path) -> None:
    """The signing certificate is replaced at half its life, and the one before ends, below the same root."""
    upstream = "{kind: self_signed, intermediate_lifetime: 20s}"
    settings = {"MESHCA__SVID__DEFAULT_LIFETIME": "10s", "MESHCA__UPSTREAM": upstream}
    async with live_ca(place, settings) as ca, running_mesh(place, ca) as mesh:
        first = (await signers(ca))[0]
        async with mesh.load() as load:

            async def over() -> bool:
                return (await signers(ca, State.RETIRED))[:1] == [first]

            await load.is_answered()
            await until(over, "the first intermediate does not end")
            await load.is_answered()
        assert await ca.states() == [State.ACTIVE]


async def signers(ca: LiveCa, *states: State) -> list[str]:
    """The intermediates in these states, oldest first; all when none is named."""
    records = await ca.ask(lambda client: client.roots.records(intermediates=True))
    return [one.id for one in records if one.kind is Kind.INTERMEDIATE and (not states or one.state in states)]

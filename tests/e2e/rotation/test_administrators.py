"""What administrators do to a rotation that is held: abort, pause, resume, force, and two of them at once.

A workload that stands still holds the gate, so that nothing goes on by itself meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from cryptography import x509

from meshca.authority.history import Kind
from meshca.authority.lifecycle import Act, State
from tests.e2e.rotation.live_ca import LiveCa, Ran, live_ca, stopped, until
from tests.e2e.rotation.mesh import running_mesh

GATE_CLOSED = 3  # exit codes, as `meshca.cli.output` says
FAILED = 1
SURE = ("--force", "--yes", "--reason", "the audit says so")


@contextlib.asynccontextmanager
async def held(place: Path) -> AsyncIterator[LiveCa]:
    """A rotation whose activation waits for `web`, until the end of the block; then `web` trusts both roots."""
    async with live_ca(place, {}) as ca, running_mesh(place, ca) as mesh:
        agent = await mesh.agent("web")
        await mesh.everybody_acknowledges(1)
        with stopped(agent.process.pid):
            await did(ca, "rotate", "--reason", "yearly")
            await ca.reaches(State.ACTIVE, State.DISTRIBUTING)
            yield ca


async def did(ca: LiveCa, *arguments: str) -> Ran:
    """A command about roots that must succeed."""
    done = await ca.run("root", *arguments)
    assert done.code == 0, done
    return done


async def acts(ca: LiveCa) -> list[tuple[Act | None, bool, str]]:
    """What people did to roots, oldest first: the act, whether it was forced, and why."""
    return [(one.act, one.forced, one.reason) for one in await ca.history() if one.by != "meshca"]


async def test_abort_before_activation(place: Path) -> None:
    """The new root is retired at once and leaves nothing behind; the old one goes on."""
    async with held(place) as ca:
        await did(ca, "abort", "--reason", "not today")
        assert await ca.states() == [State.ACTIVE, State.RETIRED]
        assert (await ca.report()).plan is None
        new = (await ca.ids())[1]
        await until(lambda: not (ca.folder / "data/ca" / new[:16]).exists(), "the new root stays on disk")
        assert len(list((ca.folder / "data/keys").iterdir())) == 2


async def test_abort_after_activation(place: Path) -> None:
    """The old root signs again; the new one is trusted while somebody holds a certificate below it."""
    async with live_ca(place, {}) as ca:
        (old,) = await ca.ids()
        await ca.server.create(
            ca.server.token("shop", "web", pod="web")
        )  # it cannot acknowledge, and holds the old
        await did(ca, "rotate", "--reason", "yearly")
        await ca.reaches(State.ACTIVE, State.DISTRIBUTING)
        await did(ca, "activate", (await ca.ids())[1], *SURE)
        await until(lambda: _signs(ca, (State.RETIRING, State.ACTIVE)), "the new root does not sign")
        await did(ca, "abort", "--reason", "not today")
        await until(lambda: _signs(ca, (State.ACTIVE, State.DISTRIBUTING)), "the old root does not sign again")
        assert (await ca.report()).authorities[0].record.id == old
        assert await ca.states() == [State.ACTIVE, State.DISTRIBUTING]
        gate = (await ca.report()).gate
        assert gate is not None
        assert [one.workload.pod for one in gate.stragglers] == ["new"]


async def _signs(ca: LiveCa, states: Sequence[State]) -> bool:
    """Whether the roots stand so, and what is issued now is below the active one."""
    found = (await ca.server.create(ca.server.token("shop", "new", pod="new"))).leaf.issuer
    records = await ca.ask(lambda client: client.roots.records(intermediates=True))
    subjects = {x509.load_pem_x509_certificate(one.pem.encode()).subject: one.parent for one in records}
    roots = {one.id: one.state for one in records if one.kind is Kind.ROOT}
    return list(roots.values()) == list(states) and roots[subjects[found]] is State.ACTIVE


async def test_pause_and_resume(place: Path) -> None:
    """Paused, nothing is done although the gate opens; resumed, it goes on by itself."""
    async with live_ca(place, {}) as ca, running_mesh(place, ca) as mesh:
        agent = await mesh.agent("web")
        await mesh.everybody_acknowledges(1)
        with stopped(agent.process.pid):
            await did(ca, "rotate", "--reason", "yearly")
            await did(ca, "pause", "--reason", "lunch")
        await mesh.everybody_acknowledges(1)
        assert (await ca.report()).gate is not None
        assert (await did(ca, "status")).value["plan"]["paused"] is True
        assert await ca.states() == [State.ACTIVE, State.DISTRIBUTING]
        await did(ca, "resume", "--reason", "back")
        await ca.reaches(State.RETIRING, State.ACTIVE)
        assert [act for act, _, _ in await acts(ca)][-2:] == [Act.PAUSE, Act.RESUME]


async def test_force(place: Path) -> None:
    """A closed gate refuses with exit code 3 and says who would break; force shows it first, and is kept."""
    async with held(place) as ca:
        new = (await ca.ids())[1]
        refused = await ca.run("root", "activate", new, json_=False)
        assert (refused.code, await ca.states()) == (GATE_CLOSED, [State.ACTIVE, State.DISTRIBUTING])
        assert 'spiffe://cluster.local/ns/shop/sa/web in "web' in refused.err
        assert "gate_closed" in refused.err
        unexplained = await ca.run("root", "activate", new, "--force", "--yes", json_=False)
        assert (unexplained.code, "needs a reason" in unexplained.err) == (2, True)
        forced = await ca.run("root", "activate", new, *SURE, json_=False)
        assert (forced.code, "WHO WOULD BREAK (1)" in forced.err) == (0, True), forced
        await ca.reaches(State.RETIRING, State.ACTIVE)
        assert (Act.ACTIVATE, True, "the audit says so") in await acts(ca)


async def test_two_at_once(place: Path) -> None:
    """Of two who prepare a root at the same time one wins; the other is told, and nothing of theirs is trusted."""
    async with live_ca(place, {}) as ca:
        both = await asyncio.gather(*(ca.run("root", "prepare", "--reason", who) for who in ("anna", "ben")))
        won, lost = sorted(both, key=lambda one: one.code)
        assert (won.code, lost.code) == (0, FAILED), both
        assert lost.value["error"]["reason"] in {"rotation_under_way", "generation"}
        new = won.value["root"]
        records = await ca.ask(lambda client: client.roots.records())
        trusted = [one.id for one in records if one.state is not State.PREPARED and one.kind is Kind.ROOT]
        assert trusted[1:] == [new]
        assert len(await ca.ids()) == 2


async def test_second_rotation(place: Path) -> None:
    """Whoever asks for a rotation that is under way is given that one; a step of another kind is refused."""
    async with held(place) as ca:
        again = await did(ca, "rotate", "--reason", "me too")
        assert again.value["root"] == (await ca.ids())[1]
        refused = await ca.run("root", "prepare", "--reason", "another")
        assert (refused.code, refused.value["error"]["reason"]) == (FAILED, "rotation_under_way")
        assert "let it end, or abort it first" in refused.value["error"]["detail"]
        assert len(await ca.ids()) == 2

"""The server is killed (SIGKILL) at every step of a rotation, in between, and at random; it ends by itself.

Every act is one commit, so each has two points: kept but not acted on, and acted on with the next not yet kept.
What is killed within one change of a file is the matter of tests/upstream.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from meshca.app.admin_client import AdminClient
from meshca.authority.history import Kind, Lifecycle
from meshca.authority.keys import key_id
from meshca.authority.lifecycle import State
from meshca.authority.material import certificate_id
from meshca.clock import SystemClock
from meshca.errors import MeshcaError, Unavailable
from meshca.store.engine import open_store
from tests.e2e.rotation.dying import AFTER, BEFORE, through
from tests.e2e.rotation.live_ca import LiveCa, live_ca, until
from tests.e2e.rotation.mesh import running_mesh

LIVES = 40  # a rotation has about six commits, each with two points
WINDOW = timedelta(seconds=3)
SEED = 6
RENEWED = 1.0  # seconds between two orders to renew


async def kept(ca: LiveCa) -> Lifecycle:
    """What a server that is dead has left in its store."""
    async with open_store(f"sqlite:///{ca.folder}/data/meshca.db", SystemClock()) as store:
        return await store.lifecycle.load()


def certificates(ca: LiveCa) -> list[x509.Certificate]:
    """Roots and intermediates on disk."""
    files = sorted((ca.folder / "data/ca").rglob("*.pem"))
    return [x509.load_pem_x509_certificate(file.read_bytes()) for file in files]


def no_orphans(ca: LiveCa) -> None:
    """Every key on disk is that of a certificate on disk, and the other way round."""
    named = {f"{key_id(one.public_key())}.key.pem" for one in certificates(ca)}
    assert {file.name for file in (ca.folder / "data/keys").iterdir()} == named


async def is_over(ca: LiveCa, *, compromised: bool) -> bool:
    """Whether the rotation has ended; one that was not begun is begun."""

    async def begin(client: AdminClient) -> None:
        window = WINDOW if compromised else None
        await client.roots.rotate(compromised=compromised, window=window, reason="the test says so")

    with contextlib.suppress(Unavailable):
        if (await ca.report()).plan is not None:
            return False
        states = await ca.states()
        if states[-1] is State.ACTIVE and len(states) > 1:
            return True
        await ca.ask(begin)
    return False


async def retires(ca: LiveCa) -> bool:
    """Whether the old root signs no more, as a server that serves says."""
    with contextlib.suppress(Unavailable):
        return State.RETIRING in await ca.states()
    return False


def nobody() -> None:
    """Renews: nobody lives in the mesh."""


async def live_and_die(ca: LiveCa, when: str, renew: Callable[[], None], *, compromised: bool) -> bool:
    """Let a server live until it has nothing more to do, which is what is told, or until it dies.

    Once in its life, when the new root signs, workloads renew: so nobody has to wait for half lives.
    """
    server = await ca.launch(through(when))
    over = renewed = False

    async def ended() -> bool:
        nonlocal over, renewed
        over = await is_over(ca, compromised=compromised)
        if not renewed and await retires(ca):
            renew()
            renewed = True
        return over or server.process.poll() is not None

    await until(ended, "the server neither dies nor ends the rotation")
    await (ca.kill() if over else ca.gone())
    return over


async def dies_at_each_commit(
    ca: LiveCa, points: Sequence[str], renew: Callable[[], None] = nobody, *, compromised: bool
) -> None:
    """Kill at these points of each commit in turn until the rotation has ended; then everything is in order."""
    await ca.kill()
    before, over = await kept(ca), False
    for when in itertools.islice(itertools.cycle(points), LIVES):
        over = await live_and_die(ca, when, renew, compromised=compromised)
        now = await kept(ca)
        assert now.generation == before.generation + (when == AFTER and not over)
        assert len(now.of(Kind.ROOT, State.ACTIVE)) == 1
        no_orphans(ca)
        before = now
        if over:
            break
    assert over, f"the rotation has not ended within {LIVES} lives"
    await ca.start()
    await ended_well(ca)


async def ended_well(ca: LiveCa, renew: Callable[[], None] = nobody) -> None:
    """The newest root signs, all others are retired, and of those nothing is left on disk."""

    async def over() -> bool:
        if found := await is_over(ca, compromised=False):
            return found
        if await retires(ca):
            renew()
            await asyncio.sleep(RENEWED)
        return False

    await until(over, "the rotation does not end")
    states = await ca.states()
    assert states[-1] is State.ACTIVE
    assert set(states[:-1]) == {State.RETIRED}
    newest = (await ca.ids())[-1]
    await until(lambda: len(certificates(ca)) == 2, "what was retired stays on disk")
    assert newest in map(certificate_id, certificates(ca))
    no_orphans(ca)


@pytest.mark.real("envoy")
async def test_at_each_commit(place: Path) -> None:
    """The next life finds the same state or the next; no key is left over, and no workload is ever refused."""
    async with live_ca(place, {}) as ca, running_mesh(place, ca, eager=True) as mesh, mesh.load() as load:
        await load.is_answered()
        await dies_at_each_commit(ca, (BEFORE, AFTER), mesh.hurry, compromised=False)
        await load.is_answered()


async def test_at_each_commit_of_a_compromised_rotation(place: Path) -> None:
    """As a planned one, with the taint in it; nobody lives in this mesh."""
    async with live_ca(place, {}) as ca:
        await dies_at_each_commit(ca, (AFTER,), compromised=True)


@pytest.mark.real("envoy")
async def test_at_any_moment(place: Path) -> None:
    """Wherever lives end, also while they begin, the last one ends the rotation; no workload is ever refused."""
    chosen = random.Random(SEED)
    async with live_ca(place, {}) as ca, running_mesh(place, ca, eager=True) as mesh, mesh.load() as load:
        await load.is_answered()
        for length in moments(chosen):
            with contextlib.suppress(TimeoutError, MeshcaError):
                async with asyncio.timeout(length):
                    await until(lambda: is_over(ca, compromised=False), "never")
            await ca.kill()
            assert len((await kept(ca)).of(Kind.ROOT, State.ACTIVE)) == 1
            await ca.launch()
        await ended_well(ca, mesh.hurry)
        await load.is_answered()


def moments(chosen: random.Random) -> Sequence[float]:
    """How long lives are, in seconds."""
    return [chosen.uniform(0.0, 5.0) for _ in range(5)]

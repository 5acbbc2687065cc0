"""One contract for every upstream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from meshca.app.openbao_process import OpenBao
from meshca.authority.material import certificate_id
from meshca.authority.slot import Slot
from meshca.authority.upstream import Upstream
from meshca.errors import ConfigError, InvariantBroken, Refused
from tests.contract.upstream_rigs import (
    Rig,
    after_a_move,
    fake,
    fake_plugged_in,
    own,
    plugged_in_files,
    plugged_in_secret,
    shared_root,
    vault,
    vault_in_memory,
)
from tests.fakes.clock import FakeClock
from tests.fakes.pki import TRUST_DOMAIN
from tests.fakes.upstream import first_offer
from tests.real.openbao import running_openbao, tls_files

SECONDS = 10.0  # of the fake clock, in which a change is told
REAL = pytest.mark.real("openbao")
IN_MEMORY = tuple(pytest.param(make, id=make.__name__) for make in (vault_in_memory, after_a_move))
PLUGGED_IN = (
    *(pytest.param(make, id=make.__name__) for make in (plugged_in_files, plugged_in_secret, fake_plugged_in)),
    *IN_MEMORY,
    pytest.param("openbao", id="vault_in_dev_mode", marks=REAL),
    pytest.param("openbao_over_tls", id="vault_over_tls", marks=REAL),
)
RIGS = (*(pytest.param(make, id=make.__name__) for make in (own, shared_root, fake)), *PLUGGED_IN)
plugged_in = pytest.mark.parametrize("rig", PLUGGED_IN, indirect=True)


@pytest.fixture(scope="module")
def openbao_over_tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBao]:
    """A server of this module, which is reached by TLS."""
    tls, roots = tls_files(tmp_path_factory.mktemp("tls"))
    with running_openbao(tls=tls, roots=roots) as server:
        yield server


@pytest.fixture(params=RIGS)
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Rig:
    """A place where nothing was started yet."""
    if isinstance(request.param, str):
        return vault(request.getfixturevalue(request.param), tmp_path)
    make: Callable[[Path, FakeClock], Rig] = request.param
    return make(tmp_path, FakeClock())


@pytest.fixture
async def upstream(rig: Rig) -> AsyncIterator[Upstream]:
    """An upstream that has just been opened."""
    async with rig.open() as opened:
        yield opened


async def ids(upstream: Upstream) -> list[str]:
    """The roots below which is signed."""
    return [certificate_id(line.root) for line in await upstream.lines() if line.signs]


async def signs(upstream: Upstream, rig: Rig, root: str) -> bool:
    """Whether what is offered below a root signs and verifies a trial leaf below just that."""
    slot = Slot.prove((await upstream.obtain(root)).material, TRUST_DOMAIN, rig.clock.now())
    return certificate_id(slot.path[-1]) == root


async def second(upstream: Upstream, rig: Rig) -> str:
    """A second root that signs: made here, or else plugged in."""
    if rig.plug_in is None:
        return certificate_id((await upstream.make_root()).root)
    return await rig.plug_in()


async def test_one_line_to_begin_with(upstream: Upstream) -> None:
    """There is a root that is wanted, below which is signed, and nothing is wrong."""
    [line] = await upstream.lines()
    assert (line.signs, line.wanted, upstream.problem) == (True, True, None)


async def test_material_proves_itself(upstream: Upstream, rig: Rig) -> None:
    """What is offered below a root signs a leaf that verifies below it."""
    [root] = await ids(upstream)
    assert await signs(upstream, rig, root)


async def test_unknown_root(upstream: Upstream) -> None:
    """Below a root that is not there nothing signs."""
    await upstream.lines()
    with pytest.raises(ConfigError):
        await upstream.obtain("f" * 64)


async def test_the_same_until_something_changes(upstream: Upstream) -> None:
    """Asking again gives the same."""
    first, again = await first_offer(upstream), await first_offer(upstream)
    assert first.material.fingerprint == again.material.fingerprint
    assert first.renew_at == again.renew_at


async def test_renewal_lies_within_the_life(upstream: Upstream, rig: Rig) -> None:
    """A time of renewal, if there is one, lies ahead and before the end of the signer."""
    offer = await first_offer(upstream)
    end = offer.material.certificate.not_valid_after_utc
    assert offer.renew_at is None or rig.clock.now() < offer.renew_at < end


@pytest.mark.parametrize("rig", IN_MEMORY, indirect=True)
async def test_a_failed_renewal_is_told(upstream: Upstream, rig: Rig) -> None:
    """What is due and cannot be renewed signs on, and the problem says why once it was asked for."""
    assert rig.break_renewals is not None
    before = await first_offer(upstream)
    assert before.renew_at is not None
    rig.break_renewals()
    rig.clock.move((before.renew_at - rig.clock.now()).total_seconds() + 1)
    after = await first_offer(upstream)
    assert after.material.fingerprint == before.material.fingerprint
    assert upstream.problem is not None


async def test_restart(upstream: Upstream, rig: Rig) -> None:
    """A restart has the same roots, and signs below them, by the same certificate where that is durable."""
    before = await first_offer(upstream)
    async with rig.open() as again:
        offer = await first_offer(again)
    assert offer.material.root_set == before.material.root_set
    assert (offer.material.fingerprint == before.material.fingerprint) == rig.restarts_same


async def test_make_root(upstream: Upstream, rig: Rig) -> None:
    """Where roots are made a new one with its own key signs beside the old; else it says where to put one."""
    [old] = await ids(upstream)
    if rig.plug_in is not None:
        with pytest.raises(Refused, match=r"; put ") as refused:
            await upstream.make_root()
        assert (refused.value.reason, await ids(upstream)) == ("upstream", [old])
        with pytest.raises(Refused) as foretold:
            await upstream.may_make_root()
        assert str(foretold.value) == str(refused.value)
        return
    await upstream.may_make_root()
    assert await ids(upstream) == [old]
    made = await upstream.make_root()
    assert (made.signs, made.wanted) == (True, True)
    assert set(await ids(upstream)) == {old, certificate_id(made.root)}
    one, two = await upstream.lines()
    assert one.root.public_key() != two.root.public_key()


async def test_same_key_of_nobody(upstream: Upstream) -> None:
    """The key of a root that is not there cannot be used again, and nothing is made."""
    before = await ids(upstream)
    with pytest.raises(Refused) as refused:
        await upstream.make_root(same_key="f" * 64)
    assert (refused.value.reason, await ids(upstream)) == ("upstream", before)


async def test_both_sign(upstream: Upstream, rig: Rig) -> None:
    """Below a second root and below the first is signed, as long as neither is forgotten."""
    [old] = await ids(upstream)
    await upstream.obtain(old)
    new = await second(upstream, rig)
    assert set(await ids(upstream)) == {old, new}
    assert [await signs(upstream, rig, root) for root in (old, new)] == [True, True]


async def test_order(upstream: Upstream, rig: Rig) -> None:
    """The root that began first comes first."""
    await upstream.lines()
    await second(upstream, rig)
    begins = [line.root.not_valid_before_utc for line in await upstream.lines()]
    assert begins == sorted(begins)


@plugged_in
async def test_what_is_no_longer_plugged_in(upstream: Upstream, rig: Rig) -> None:
    """A root that the operator no longer names is not wanted, and still signs."""
    [old] = await ids(upstream)
    new = await second(upstream, rig)
    wanted = {certificate_id(line.root): (line.signs, line.wanted) for line in await upstream.lines()}
    assert wanted == {old: (True, False), new: (True, True)}


async def test_forget(upstream: Upstream, rig: Rig) -> None:
    """A root that is not to be kept is there no more, also after a restart."""
    [old] = await ids(upstream)
    await upstream.obtain(old)
    new = await second(upstream, rig)
    await upstream.lines()
    await upstream.forget({new})
    async with rig.open() as again:
        for each in (upstream, again):
            assert await ids(each) == [new]
            assert await signs(each, rig, new)
            with pytest.raises(ConfigError):
                await each.obtain(old)


async def test_abort(upstream: Upstream, rig: Rig) -> None:
    """Forgetting the newer root leaves the older as it was; what the operator plugged in is left where it is."""
    before = await first_offer(upstream)
    [old] = await ids(upstream)
    new = await second(upstream, rig)
    await upstream.lines()
    await upstream.forget({old})
    assert (await upstream.obtain(old)).material.fingerprint == before.material.fingerprint
    assert (new in await ids(upstream)) == (rig.plug_in is not None)


async def test_never_the_last(upstream: Upstream) -> None:
    """When not one that signs is to be kept nothing is forgotten."""
    before = await ids(upstream)
    with pytest.raises(InvariantBroken) as refused:
        await upstream.forget({"f" * 64})
    assert (refused.value.reason, await ids(upstream)) == ("forget", before)


async def test_changed_waits(upstream: Upstream, rig: Rig) -> None:
    """Without a change nobody is told of one, and whoever waits can be cancelled."""
    await first_offer(upstream)
    task = asyncio.create_task(upstream.changed())
    await rig.clock.advance(60)
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@plugged_in
async def test_changed(upstream: Upstream, rig: Rig) -> None:
    """What is plugged in is told, to whoever waits and to whoever comes later."""
    await upstream.lines()
    task = asyncio.create_task(upstream.changed())
    await rig.clock.advance(0)
    await second(upstream, rig)
    late = asyncio.create_task(upstream.changed())
    await rig.clock.advance(SECONDS)
    await asyncio.gather(task, late)


async def test_the_key_does_not_print(upstream: Upstream) -> None:
    """The key is not in the repr of an offer."""
    assert "PRIVATE" not in repr(await first_offer(upstream))

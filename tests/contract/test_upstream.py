"""One contract for every upstream."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from meshca.authority.material import certificate_id
from meshca.authority.slot import Slot
from meshca.authority.upstream import Upstream
from meshca.config.upstream import FilesConfig, SecretConfig, SelfSignedConfig
from meshca.errors import ConfigError, InvariantBroken, Refused
from meshca.keystore.file import FileKeyStore
from meshca.upstream import files, secret, self_signed
from tests.fakes.cacerts import Files, cacerts, write
from tests.fakes.clock import FakeClock
from tests.fakes.pki import DAY, NOW, TRUST_DOMAIN, make_ca, material_of
from tests.fakes.secret_source import FakeSecrets, FakeSource
from tests.fakes.upstream import FakeUpstream, first_offer

Opened = contextlib.AbstractAsyncContextManager[Upstream]
ROOT, OTHER = make_ca("root"), make_ca("other root", begin=NOW - DAY / 2)
SIGNER, OTHERS = (make_ca("signer", root, end=NOW + 30 * DAY) for root in (ROOT, OTHER))
MOVED = cacerts(OTHERS, roots=(OTHER,))  # what an operator plugs in instead
SECONDS = 10.0  # of the fake clock, in which a change is told


@dataclass(frozen=True, slots=True)
class Rig:
    """A place, and how to open an upstream over it.

    Attributes:
        open: each time as a start after a restart would.
        clock: of all that is opened.
        plug_in: what an operator does; None where an operator can give nothing.
        restarts_same: whether a restart offers the same signing certificate.
    """

    open: Callable[[], Opened]
    clock: FakeClock
    plug_in: Callable[[Files], None] | None = None
    restarts_same: bool = True


def plugged_in_files(folder: Path, clock: FakeClock) -> Rig:
    """A plugged-in CA."""
    ca = folder / "ca"
    config = FilesConfig(kind="files", dir=ca)
    write(ca, cacerts(SIGNER, roots=(ROOT,)))
    return Rig(
        lambda: files.open_(config, data_dir=folder / "data", trust_domain=TRUST_DOMAIN, clock=clock),
        clock,
        lambda parts: write(ca, parts),
    )


def own(folder: Path, clock: FakeClock) -> Rig:
    """A CA of our own."""
    keys = FileKeyStore(folder / "keys")
    return Rig(
        lambda: self_signed.open_(
            SelfSignedConfig(), data_dir=folder, keys=keys, trust_domain=TRUST_DOMAIN, clock=clock
        ),
        clock,
    )


def plugged_in_secret(_: Path, clock: FakeClock) -> Rig:
    """A plugged-in CA in a Secret."""
    store = FakeSecrets()
    store.put("cacerts", cacerts(SIGNER, roots=(ROOT,)))
    return Rig(lambda: over(store, clock), clock, lambda parts: store.put("cacerts", parts))


def shared_root(_: Path, clock: FakeClock) -> Rig:
    """A root in a Secret that a first start makes."""
    store = FakeSecrets()
    return Rig(lambda: over(store, clock), clock, restarts_same=False)


def over(store: FakeSecrets, clock: FakeClock) -> Opened:
    """A CA in one of Istio's Secrets."""
    config = SecretConfig(kind="secret", create=True)
    source = FakeSource(store, secret.secret_names(config))
    return secret.open_(config, source=source, published=None, trust_domain=TRUST_DOMAIN, clock=clock)


def fake(_: Path, clock: FakeClock) -> Rig:
    """The fake that other tests use."""
    return Rig(_again(FakeUpstream(material_of(SIGNER, roots=[ROOT]))), clock)


def fake_plugged_in(_: Path, clock: FakeClock) -> Rig:
    """The fake, as one where roots are not made."""
    upstream = FakeUpstream(material_of(SIGNER, roots=[ROOT]))
    upstream.makes_roots = False

    def plug_in(_: Files) -> None:
        upstream.unwanted.add(certificate_id(ROOT.certificate))
        upstream.change(material_of(SIGNER, roots=[ROOT]), material_of(OTHERS, roots=[OTHER]))

    return Rig(_again(upstream), clock, plug_in)


def _again(upstream: FakeUpstream) -> Callable[[], Opened]:
    @contextlib.asynccontextmanager
    async def opened() -> AsyncIterator[Upstream]:
        yield upstream

    return opened


PLUGGED_IN = (plugged_in_files, plugged_in_secret, fake_plugged_in)
RIGS = (own, shared_root, fake, *PLUGGED_IN)
plugged_in = pytest.mark.parametrize("rig", PLUGGED_IN, ids=[make.__name__ for make in PLUGGED_IN], indirect=True)


@pytest.fixture(params=RIGS, ids=[make.__name__ for make in RIGS])
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Rig:
    """A place where nothing was started yet."""
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


async def signs(upstream: Upstream, root: str) -> bool:
    """Whether what is offered below a root signs and verifies a trial leaf below just that."""
    slot = Slot.prove((await upstream.obtain(root)).material, TRUST_DOMAIN, NOW)
    return certificate_id(slot.path[-1]) == root


async def second(upstream: Upstream, rig: Rig) -> str:
    """A second root that signs: made here, or else plugged in."""
    if rig.plug_in is None:
        return certificate_id((await upstream.make_root()).root)
    rig.plug_in(MOVED)
    return certificate_id(OTHER.certificate)


async def test_one_line_to_begin_with(upstream: Upstream) -> None:
    """There is a root that is wanted, below which is signed, and nothing is wrong."""
    [line] = await upstream.lines()
    assert (line.signs, line.wanted, upstream.problem) == (True, True, None)


async def test_material_proves_itself(upstream: Upstream) -> None:
    """What is offered below a root signs a leaf that verifies below it."""
    [root] = await ids(upstream)
    assert await signs(upstream, root)


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
        return
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
    assert [await signs(upstream, root) for root in (old, new)] == [True, True]


async def test_order(upstream: Upstream, rig: Rig) -> None:
    """The root that began first comes first."""
    await upstream.lines()
    await second(upstream, rig)
    begins = [line.root.not_valid_before_utc for line in await upstream.lines()]
    assert begins == sorted(begins)


@plugged_in
async def test_what_is_no_longer_plugged_in(upstream: Upstream, rig: Rig) -> None:
    """A root that the operator no longer names is not wanted, and still signs."""
    await upstream.lines()
    await second(upstream, rig)
    wanted = {line.root: (line.signs, line.wanted) for line in await upstream.lines()}
    assert wanted == {ROOT.certificate: (True, False), OTHER.certificate: (True, True)}


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
            assert await signs(each, new)
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
    assert (task.done(), late.done()) == (True, True)


async def test_the_key_does_not_print(upstream: Upstream) -> None:
    """The key is not in the repr of an offer."""
    assert "PRIVATE" not in repr(await first_offer(upstream))

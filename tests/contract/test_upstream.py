"""One contract for every upstream."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from meshca.authority.slot import Slot
from meshca.authority.upstream import Upstream
from meshca.config.upstream import FilesConfig, SecretConfig, SelfSignedConfig
from meshca.upstream import files, secret, self_signed
from tests.fakes.cacerts import cacerts, write
from tests.fakes.clock import FakeClock
from tests.fakes.keystore import MemoryKeyStore
from tests.fakes.pki import DAY, NOW, TRUST_DOMAIN, good_material, make_ca
from tests.fakes.secret_source import FakeSecrets, FakeSource
from tests.fakes.upstream import FakeUpstream

Opened = contextlib.AbstractAsyncContextManager[Upstream]
ROOT = make_ca("root")


def open_files(folder: Path, clock: FakeClock) -> Opened:
    """A plugged-in CA."""
    write(folder, cacerts(make_ca("signer", ROOT, end=NOW + 30 * DAY), roots=(ROOT,)))
    return files.open_(FilesConfig(kind="files", dir=folder), trust_domain=TRUST_DOMAIN, clock=clock)


def open_self_signed(folder: Path, clock: FakeClock) -> Opened:
    """A CA of our own."""
    keys = MemoryKeyStore()
    return self_signed.open_(
        SelfSignedConfig(), data_dir=folder, keys=keys, trust_domain=TRUST_DOMAIN, clock=clock
    )


def open_secret(_: Path, clock: FakeClock) -> Opened:
    """A plugged-in CA in a Secret."""
    store = FakeSecrets()
    store.put("cacerts", cacerts(make_ca("signer", ROOT, end=NOW + 30 * DAY), roots=(ROOT,)))
    return open_secrets(store, clock)


def open_shared_root(_: Path, clock: FakeClock) -> Opened:
    """A root in a Secret that a first start makes."""
    return open_secrets(FakeSecrets(), clock)


def open_secrets(store: FakeSecrets, clock: FakeClock) -> Opened:
    """A CA in one of Istio's Secrets."""
    config = SecretConfig(kind="secret", create=True)
    source = FakeSource(store)
    return secret.open_(config, source=source, published=None, trust_domain=TRUST_DOMAIN, clock=clock)


@contextlib.asynccontextmanager
async def open_fake(_: Path, __: FakeClock) -> AsyncIterator[Upstream]:
    """The fake that other tests use."""
    yield FakeUpstream(good_material())


OPENERS = (open_files, open_self_signed, open_secret, open_shared_root, open_fake)


@pytest.fixture(params=OPENERS, ids=[opener.__name__ for opener in OPENERS])
async def upstream(request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock) -> AsyncIterator[Upstream]:
    """An upstream that has just been opened."""
    opener: Callable[[Path, FakeClock], Opened] = request.param
    async with opener(tmp_path, clock) as opened:
        yield opened


@pytest.fixture
def clock() -> FakeClock:
    """A clock of the test."""
    return FakeClock()


async def test_material_proves_itself(upstream: Upstream, clock: FakeClock) -> None:
    """What is offered signs and verifies a trial leaf."""
    offer = await upstream.obtain()
    assert Slot.prove(offer.material, TRUST_DOMAIN, clock.now()).issuer.trust_domain == TRUST_DOMAIN


async def test_the_same_until_something_changes(upstream: Upstream) -> None:
    """Asking again offers the same."""
    first, second = await upstream.obtain(), await upstream.obtain()
    assert first.material.fingerprint == second.material.fingerprint
    assert first.renew_at == second.renew_at


async def test_renewal_lies_within_the_life(upstream: Upstream, clock: FakeClock) -> None:
    """A time of renewal, if there is one, lies ahead and before the end of the signer."""
    offer = await upstream.obtain()
    end = offer.material.certificate.not_valid_after_utc
    assert offer.renew_at is None or clock.now() < offer.renew_at < end


async def test_changed_waits(upstream: Upstream, clock: FakeClock) -> None:
    """Without a change nobody is told of one, and whoever waits can be cancelled."""
    await upstream.obtain()
    task = asyncio.create_task(upstream.changed())
    await clock.advance(60)
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_the_key_does_not_print(upstream: Upstream) -> None:
    """The key is not in the repr of an offer."""
    assert "PRIVATE" not in repr(await upstream.obtain())

"""A CA in a Secret, while it serves: what is renewed, missed, refused and checked."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from meshca.authority.material import certificate_id
from meshca.config.upstream import SecretConfig
from meshca.errors import ConfigError, MeshcaError, Unavailable
from meshca.upstream.secret import check, open_
from tests.fakes.cacerts import cacerts
from tests.fakes.clock import FakeClock
from tests.fakes.pki import DAY, NOW, TRUST_DOMAIN
from tests.fakes.secret_source import FakeSecrets, FakeSource
from tests.fakes.upstream import first_offer
from tests.upstream.replicas import (
    BAD,
    MAY_CREATE,
    MAY_NOT,
    NEXT,
    ROOT,
    SIGNER,
    istio_root,
    put_istio,
    upstream_of,
)


class TestLater:
    """What happens while it serves."""

    async def test_the_same_intermediate(self) -> None:
        """Asked again, and after a change that is none, the intermediate is the same."""
        store, root = FakeSecrets(), istio_root()
        put_istio(store, root)
        upstream, _ = upstream_of(store)
        first = await first_offer(upstream)
        put_istio(store, root)
        assert (await first_offer(upstream)).material.fingerprint == first.material.fingerprint

    async def test_renewed_at_half_life(self) -> None:
        """At half of its life the intermediate is made anew, with its own key and subject."""
        store, clock = FakeSecrets(), FakeClock()
        upstream, _ = upstream_of(store, clock=clock)
        first = await first_offer(upstream)
        clock.move((15 * DAY).total_seconds() - 1)
        assert (await first_offer(upstream)).material.fingerprint == first.material.fingerprint
        clock.move(1)
        second = await first_offer(upstream)
        assert second.material.root_set == first.material.root_set
        assert second.material.certificate.subject != first.material.certificate.subject
        assert second.material.key.public_key() != first.material.key.public_key()

    async def test_not_renewed_past_its_root(self) -> None:
        """An intermediate that lasts as long as its root is not made anew."""
        store = FakeSecrets()
        put_istio(store, istio_root(end=NOW + 10 * DAY))
        clock = FakeClock()
        upstream, _ = upstream_of(store, clock=clock)
        first = await first_offer(upstream)
        clock.move((9 * DAY).total_seconds())
        assert (first.renew_at, (await first_offer(upstream)).material.fingerprint) == (
            None,
            first.material.fingerprint,
        )

    async def test_plugged_in_anew(self) -> None:
        """A new intermediate under the same root is offered once it is in the Secret."""
        store = FakeSecrets()
        store.put("cacerts", cacerts(SIGNER, roots=(ROOT,)))
        upstream, _ = upstream_of(store)
        await first_offer(upstream)
        store.put("cacerts", cacerts(NEXT, roots=(ROOT,)))
        await asyncio.wait_for(upstream.changed(), 1)
        assert (await first_offer(upstream)).material.certificate == NEXT.certificate

    async def test_gone(self) -> None:
        """A Secret that was deleted is missed, and never made anew while its root is in force here."""
        store = FakeSecrets()
        upstream, _ = upstream_of(store)
        await first_offer(upstream)
        store.remove("istio-ca-secret")
        await asyncio.wait_for(upstream.changed(), 1)
        before = await upstream.lines()
        assert [(line.signs, line.wanted) for line in before] == [(True, True)]
        assert "no Secret holds a CA any more; put it back" in str(upstream.problem)
        assert (await upstream.obtain(certificate_id(before[0].root))).renew_at is None
        assert store.held == {}

    async def test_gone_before_anything_signed(self) -> None:
        """When it is gone before anything below its root was asked for, nothing signs."""
        store = FakeSecrets()
        upstream, _ = upstream_of(store)
        await upstream.lines()
        store.remove("istio-ca-secret")
        with pytest.raises(ConfigError, match="no Secret holds a CA any more; put it back"):
            await upstream.lines()
        assert store.held == {}

    async def test_a_weightier_one_appears(self) -> None:
        """A plugged-in CA that is put beside Istio's is wanted from then on; the other can sign until it may."""
        store = FakeSecrets()
        upstream, _ = upstream_of(store)
        old = await first_offer(upstream)
        store.put("cacerts", cacerts(SIGNER, roots=(ROOT,)))
        for replica in (upstream, upstream_of(store)[0]):
            lines = {line.root: (line.signs, line.wanted) for line in await replica.lines()}
            assert lines == {old.material.roots[0]: (True, False), ROOT.certificate: (True, True)}
            again = await replica.obtain(certificate_id(old.material.roots[0]))
            assert again.material.roots == old.material.roots
        assert (
            await upstream.obtain(certificate_id(old.material.roots[0]))
        ).material.fingerprint == old.material.fingerprint

    async def test_only_lines_count(self) -> None:
        """A change that `obtain` has seen, and `lines` not, is still told."""
        store = FakeSecrets()
        store.put("cacerts", cacerts(SIGNER, roots=(ROOT,)))
        upstream, _ = upstream_of(store)
        await upstream.lines()
        store.put("cacerts", cacerts(NEXT, roots=(ROOT,)))
        await upstream.obtain(certificate_id(ROOT.certificate))
        await asyncio.wait_for(upstream.changed(), 1)
        await upstream.lines()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(upstream.changed(), 0)

    async def test_failed_lines_count(self) -> None:
        """What `lines` refused is no change until it changes again."""
        store = FakeSecrets()
        store.put("istio-ca-secret", {})
        upstream, _ = upstream_of(store, MAY_NOT)
        with pytest.raises(Unavailable):
            await upstream.lines()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(upstream.changed(), 0)


WHY = {
    "expired": "expired at",
    "not-yet-valid": "not valid before",
    "key-of-another": "private key is not its own",
    "another-root": "no chain of signatures",
    "half": "root-cert.pem: is missing",
    "not-a-ca": "not a CA",
    "root-without-room": "its path length 0 allows fewer than the 1 CA certificates below it",
    "root-of-another-key": "private key is not its own",
}


@pytest.mark.parametrize("name", BAD)
async def test_refused(name: str) -> None:
    """An incomplete, mismatched, expired or unfit set is refused; Secret and place are named, no key is told."""
    store = FakeSecrets()
    store.put("cacerts", BAD[name])
    with pytest.raises(ConfigError) as caught:
        await first_offer(upstream_of(store)[0])
    assert caught.value.source == "Secret cacerts in namespace istio-system"
    assert any(WHY[name] in problem for problem in caught.value.problems), caught.value.problems
    assert "PRIVATE" not in str(caught.value)


async def test_refused_is_not_replaced() -> None:
    """A damaged Secret is never replaced by a new root, nor passed over for another."""
    store = FakeSecrets()
    store.put("cacerts", BAD["half"])
    put_istio(store, istio_root())
    before = dict(store.held)
    upstream, _ = upstream_of(store)
    assert [line.wanted for line in await upstream.lines()] == [False]
    assert "root-cert.pem: is missing" in str(upstream.problem)
    assert store.held == before


@pytest.mark.parametrize(
    ("config", "contents", "error"),
    [
        pytest.param(MAY_CREATE, None, None, id="would-be-made"),
        pytest.param(MAY_NOT, None, Unavailable, id="none"),
        pytest.param(MAY_NOT, cacerts(SIGNER, roots=(ROOT,)), None, id="good"),
        pytest.param(MAY_NOT, BAD["half"], ConfigError, id="bad"),
    ],
)
async def test_check(
    config: SecretConfig, contents: dict[str, str] | None, error: type[MeshcaError] | None
) -> None:
    """Checking finds what would stop a start, and makes nothing."""
    store = FakeSecrets()
    if contents is not None:
        store.put("cacerts", contents)
    before = dict(store.held)
    checking = check(
        config, source=FakeSource(store), published=None, trust_domain=TRUST_DOMAIN, clock=FakeClock()
    )
    if error is None:
        await checking
    else:
        with pytest.raises(error):
            await checking
    assert store.held == before


async def test_opening_asks_nothing() -> None:
    """An API server that does not answer does not keep it from being opened."""
    source = FakeSource(FakeSecrets())
    source.errors["read"] = Unavailable("kube_unreachable", "down")
    opened = open_(MAY_CREATE, source=source, published=None, trust_domain=TRUST_DOMAIN, clock=FakeClock())
    async with opened as upstream:
        with pytest.raises(Unavailable):
            await first_offer(upstream)


async def test_short_lives() -> None:
    """An intermediate that lives for seconds is renewed at half of them too, not at once."""
    config = MAY_CREATE.model_copy(update={"intermediate_lifetime": timedelta(seconds=8)})
    assert (await first_offer(upstream_of(FakeSecrets(), config)[0])).renew_at == NOW + timedelta(seconds=4)

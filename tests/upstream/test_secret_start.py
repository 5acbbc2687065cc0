"""The first start over Secrets: one root of many replicas, none over a root that is lost."""

from __future__ import annotations

import asyncio

import pytest
from cryptography import x509

from meshca.authority.secret_source import Overtaken
from meshca.authority.slot import Slot
from meshca.errors import Unavailable
from meshca.identity.key_type import KeyType
from tests.fakes.cacerts import cacerts
from tests.fakes.logs import captured_logs
from tests.fakes.pki import DAY, NOW, TRUST_DOMAIN, make_ca
from tests.fakes.secret_source import FakeSecrets
from tests.fakes.upstream import first_offer
from tests.upstream.replicas import (
    FORBIDDEN,
    ISTIO,
    MAY_CREATE,
    MAY_NOT,
    ROOT,
    SIGNER,
    FakePublished,
    upstream_of,
    verifies,
)


class TestFirstStart:
    """What is made when there is nothing."""

    async def test_not_unless_configured(self) -> None:
        """Without `create` nothing is made, and what to do is said."""
        store = FakeSecrets()
        upstream, _ = upstream_of(store, MAY_NOT)
        with pytest.raises(Unavailable) as caught:
            await first_offer(upstream)
        assert caught.value.detail == (
            "Secrets cacerts, istio-ca-secret in namespace istio-system: none holds a CA; put a CA there, or set"
            " upstream.create to begin with a new root"
        )
        assert store.held == {}

    async def test_made_in_the_last(self) -> None:
        """A root is made in the last of the Secrets, in Istio's own form."""
        store = FakeSecrets()
        offer = await first_offer(upstream_of(store)[0])
        [secret] = store.held.values()
        assert (secret.name, secret.kind) == ("istio-ca-secret", ISTIO)
        assert [x509.load_pem_x509_certificate(secret.contents["ca-cert.pem"])] == [*offer.material.roots]

    @pytest.mark.parametrize("key_type", list(KeyType))
    async def test_key_types(self, key_type: KeyType) -> None:
        """Root and intermediate are of the configured key type."""
        config = MAY_CREATE.model_copy(update={"key_type": key_type})
        offer = await first_offer(upstream_of(FakeSecrets(), config)[0])
        assert Slot.prove(offer.material, TRUST_DOMAIN, NOW).path == (
            offer.material.certificate,
            offer.material.roots[0],
        )

    async def test_lifetimes(self) -> None:
        """The root lasts ten years, the intermediate thirty days, to be renewed at half of them."""
        offer = await first_offer(upstream_of(FakeSecrets())[0])
        assert offer.material.roots[0].not_valid_after_utc == NOW + 3650 * DAY
        assert offer.material.certificate.not_valid_after_utc == NOW + 30 * DAY
        assert offer.renew_at == NOW + 15 * DAY

    async def test_many_at_once(self) -> None:
        """However many replicas start at once, they end with one root and an intermediate each."""
        store = FakeSecrets()
        replicas = [upstream_of(store) for _ in range(10)]
        for _, source in replicas:
            source.before_writing.clear()
        tasks = [asyncio.create_task(first_offer(upstream)) for upstream, _ in replicas]
        for _ in range(5):
            await asyncio.sleep(0)  # all have seen that there is nothing
        for _, source in replicas:
            source.before_writing.set()
        offers = await asyncio.gather(*tasks)
        assert len({offer.material.root_set for offer in offers}) == 1
        assert len({offer.material.certificate.subject for offer in offers}) == 10

    async def test_an_empty_one_is_filled(self) -> None:
        """An empty Secret, which somebody made so that we need not create any, is filled and keeps its type."""
        store = FakeSecrets()
        store.put("istio-ca-secret", {})
        upstream, source = upstream_of(store)
        source.errors["create"] = FORBIDDEN
        await first_offer(upstream)
        assert store.held["istio-ca-secret"].kind == "Opaque"
        assert store.held["istio-ca-secret"].contents["ca-key.pem"]

    async def test_filled_by_another(self) -> None:
        """When another replica fills it first, its root is ours too."""
        store = FakeSecrets()
        store.put("istio-ca-secret", {})
        upstream, source = upstream_of(store)
        source.before_writing.clear()
        task = asyncio.create_task(first_offer(upstream))
        for _ in range(5):
            await asyncio.sleep(0)
        other = await first_offer(upstream_of(store)[0])
        source.before_writing.set()
        assert (await task).material.root_set == other.material.root_set

    async def test_always_overtaken(self) -> None:
        """Whoever loses every time without ever seeing a CA gives up for now."""
        store = FakeSecrets()
        upstream, source = upstream_of(store)
        source.errors["create"] = Overtaken("test", "it exists")
        with pytest.raises(Unavailable, match="others write the Secrets all the time"):
            await first_offer(upstream)
        assert store.reads == 5

    @pytest.mark.parametrize("method", ["read", "create"])
    async def test_not_permitted(self, method: str) -> None:
        """A missing permission is passed on as it is, and nothing is made."""
        store = FakeSecrets()
        upstream, source = upstream_of(store)
        source.errors[method] = FORBIDDEN
        with pytest.raises(Unavailable, match="get secrets in istio-system: forbidden"):
            await first_offer(upstream)
        assert store.held == {}

    async def test_audited(self) -> None:
        """Whoever makes the root says so; whoever was overtaken does not. Every intermediate is told."""
        store = FakeSecrets()
        with captured_logs() as logs:
            for _ in range(2):
                await first_offer(upstream_of(store)[0])
        assert [line["kind"] for line in logs if line["event"] == "ca.signed"] == [
            "root",
            "intermediate",
            "intermediate",
        ]


class TestLost:
    """The Secret is gone, and workloads still trust what it held."""

    async def test_no_new_root(self) -> None:
        """None is made; it is told what is alive where, and what to do."""
        store = FakeSecrets()
        with pytest.raises(Unavailable) as refused:
            await first_offer(upstream_of(store, published=FakePublished(ROOT.pem))[0])
        said = refused.value.detail
        place = "ConfigMap istio-ca-root-cert in namespace istio-system"
        assert f"none holds a CA, but {place} holds a living root (sha256 " in said
        assert f"put the Secret back from a backup, or delete {place} to begin with a new root" in said
        assert store.held == {}

    async def test_put_back(self) -> None:
        """Once the Secret is back it signs."""
        store = FakeSecrets()
        upstream, _ = upstream_of(store, published=FakePublished(ROOT.pem))
        with pytest.raises(Unavailable):
            await first_offer(upstream)
        store.put("cacerts", cacerts(SIGNER, roots=(ROOT,)))
        assert verifies(await first_offer(upstream), ROOT.certificate)

    @pytest.mark.parametrize(
        "text",
        ["", "junk", make_ca("ended", begin=NOW - 2 * DAY, end=NOW - DAY).pem],
        ids=["none", "junk", "ended"],
    )
    async def test_nothing_to_lose(self, text: str) -> None:
        """Without a living root published the first start makes one."""
        store = FakeSecrets()
        await first_offer(upstream_of(store, published=FakePublished(text))[0])
        assert "istio-ca-secret" in store.held

    async def test_unknown(self) -> None:
        """While it cannot be found out none is made, and the missing permission is named."""
        store, published = FakeSecrets(), FakePublished()
        published.error = Unavailable("kube_forbidden", "home: get configmaps in istio-system: forbidden")
        with pytest.raises(Unavailable, match="holds a root is not known: home: get configmaps in istio-system"):
            await first_offer(upstream_of(store, published=published)[0])
        assert store.held == {}

    async def test_another_replica_began(self) -> None:
        """What a replica that was first made and published meanwhile is taken, not missed."""
        store, published = FakeSecrets(), FakePublished(ROOT.pem)
        published.meanwhile = lambda: store.put("cacerts", cacerts(SIGNER, roots=(ROOT,)))
        upstream, _ = upstream_of(store, published=published)
        assert verifies(await first_offer(upstream), ROOT.certificate)

    @pytest.mark.parametrize(("text", "fine"), [("", True), (ROOT.pem, False)])
    async def test_check(self, text: str, fine: bool) -> None:  # noqa: FBT001 - a row's part
        """Checking says so too, and makes nothing."""
        store = FakeSecrets()
        upstream, _ = upstream_of(store, published=FakePublished(text))
        if fine:
            await upstream.check()
        else:
            with pytest.raises(Unavailable, match="put the Secret back"):
                await upstream.check()
        assert store.held == {}

"""Istio's CAs, taken over from its Secrets and handed back."""

from __future__ import annotations

import pytest
from cryptography import x509

from tests.fakes.cacerts import cacerts, tls
from tests.fakes.pki import DAY, NOW, make_ca
from tests.fakes.secret_source import FakeSecrets
from tests.fakes.upstream import first_offer
from tests.upstream.replicas import ISTIO, ROOT, SIGNER, istio_root, put_istio, upstream_of, verifies


class TestIstio:
    """From Istio to meshca and back, with Istio's own Secrets."""

    async def test_self_signed(self) -> None:
        """Below Istio's root each replica signs by an intermediate of its own; the Secret is not touched."""
        store, root = FakeSecrets(), istio_root()
        put_istio(store, root)
        before = dict(store.held)
        offers = [await first_offer(upstream_of(store)[0]) for _ in range(3)]
        assert all(verifies(offer, root.certificate) for offer in offers)
        assert len({offer.material.certificate.subject for offer in offers}) == 3
        assert {offer.material.key.key_size for offer in offers} == {256}
        assert store.held == before

    async def test_after_istio_rotated_its_root(self) -> None:
        """Istio renews `ca-cert.pem` only; the `root-cert.pem` that it leaves behind does not count."""
        store, old, new = FakeSecrets(), istio_root(), istio_root(end=NOW + 20 * 365 * DAY)
        put_istio(store, old)
        contents = {key: value.decode() for key, value in store.held["istio-ca-secret"].contents.items()}
        store.put("istio-ca-secret", {**contents, "ca-cert.pem": new.pem}, ISTIO)
        offer = await first_offer(upstream_of(store)[0])
        assert offer.material.roots == (new.certificate,)

    async def test_an_old_root(self) -> None:
        """A root of an Istio before 1.8, which has no key identifier, can be moved too."""
        store, root = FakeSecrets(), istio_root(key_id=False)
        put_istio(store, root)
        assert verifies(await first_offer(upstream_of(store)[0]), root.certificate)

    async def test_a_root_that_istio_just_made(self) -> None:
        """Istio does not back-date its root; that an intermediate begins earlier harms nobody."""
        store, root = FakeSecrets(), istio_root(begin=NOW)
        put_istio(store, root)
        assert verifies(await first_offer(upstream_of(store)[0]), root.certificate)

    @pytest.mark.parametrize(
        ("contents", "kind"),
        [
            pytest.param(cacerts(SIGNER, roots=(ROOT,)), "Opaque", id="cacerts"),
            pytest.param(tls(SIGNER, roots=(ROOT,)), "kubernetes.io/tls", id="tls"),
        ],
    )
    async def test_plugged_in(self, contents: dict[str, str], kind: str) -> None:
        """A plugged-in intermediate signs itself, and nothing is to be renewed by us."""
        store = FakeSecrets()
        store.put("cacerts", contents, kind)
        offer = await first_offer(upstream_of(store)[0])
        assert (offer.material.certificate, offer.renew_at) == (SIGNER.certificate, None)

    async def test_plugged_in_root(self) -> None:
        """A plugged-in root stays where it is as well: an intermediate signs."""
        store = FakeSecrets()
        store.put("cacerts", tls(ROOT, roots=(ROOT, make_ca("old root"))), "kubernetes.io/tls")
        offer = await first_offer(upstream_of(store)[0])
        assert offer.material.certificate.issuer == ROOT.certificate.subject
        assert len(offer.material.roots) == 2

    async def test_back(self) -> None:
        """Where Istio looks for its root there is the one that signed our intermediates."""
        store = FakeSecrets()
        offer = await first_offer(upstream_of(store)[0])
        root = x509.load_pem_x509_certificate(store.held["istio-ca-secret"].contents["ca-cert.pem"])
        offer.material.certificate.verify_directly_issued_by(root)

"""Replicas over Secrets in memory, and what others put there."""

from __future__ import annotations

from collections.abc import Callable

from cryptography import x509

from meshca.authority.material import certificate_id
from meshca.authority.slot import Slot
from meshca.authority.upstream import Offer
from meshca.config.upstream import SecretConfig
from meshca.errors import Unavailable
from meshca.upstream.secret import SecretUpstream, secret_names
from tests.fakes.cacerts import cacerts, tls
from tests.fakes.clock import FakeClock
from tests.fakes.pki import DAY, NOW, TRUST_DOMAIN, Ca, ec_key, make_ca, rsa_key
from tests.fakes.secret_source import FakeSecrets, FakeSource

ISTIO = "istio.io/ca-root"
MAY_CREATE = SecretConfig(kind="secret", create=True)
MAY_NOT = SecretConfig(kind="secret")
ROOT = make_ca("root")
SIGNER, NEXT = make_ca("signer", ROOT), make_ca("next", ROOT)
SPARE = "istio-ca-secret-next"
FORBIDDEN = Unavailable("kube_forbidden", "home: get secrets in istio-system: forbidden")


class FakePublished:
    """Implements `Published`.

    Attributes:
        text: what workloads have got.
        error: raised instead of reading, if set.
        meanwhile: happens before each answer.
    """

    place = "ConfigMap istio-ca-root-cert in namespace istio-system"

    def __init__(self, text: str = "") -> None:
        self.text = text
        self.error: Unavailable | None = None
        self.meanwhile: Callable[[], None] = lambda: None

    async def read(self) -> str:
        """What workloads have got."""
        if self.error is not None:
            raise self.error
        self.meanwhile()
        return self.text


def upstream_of(
    store: FakeSecrets,
    config: SecretConfig = MAY_CREATE,
    clock: FakeClock | None = None,
    published: FakePublished | None = None,
) -> tuple[SecretUpstream, FakeSource]:
    """A replica, and its way to the Secrets."""
    source = FakeSource(store, secret_names(config))
    return SecretUpstream(config, source, published, TRUST_DOMAIN, clock or FakeClock()), source


def istio_root(**changes: object) -> Ca:
    """A root as istiod makes it: RSA, no SPIFFE ID."""
    return make_ca("istio", **{"key": rsa_key(), **changes})  # type: ignore[arg-type] # a test's changes


def put_istio(store: FakeSecrets, root: Ca) -> None:
    """The Secret as istiod writes it."""
    contents = {"ca-cert.pem": root.pem, "ca-key.pem": root.key_pem, "root-cert.pem": root.pem}
    store.put("istio-ca-secret", {**contents, "cert-chain.pem": "", "key.pem": ""}, ISTIO)


def verifies(offer: Offer, root: x509.Certificate) -> bool:
    """Whether a leaf of this signer verifies for a client that knows only this root."""
    slot = Slot.prove(offer.material, TRUST_DOMAIN, NOW)
    return slot.path[-1] == root


async def begun_store() -> tuple[FakeSecrets, str]:
    """Secrets in which a root was made, and that root."""
    store = FakeSecrets()
    [line] = await upstream_of(store)[0].lines()
    return store, certificate_id(line.root)


BAD = {
    "expired": cacerts(make_ca("signer", ROOT, end=NOW), roots=(ROOT,)),
    "not-yet-valid": cacerts(make_ca("signer", ROOT, begin=NOW + DAY), roots=(ROOT,)),
    "key-of-another": {**cacerts(SIGNER, roots=(ROOT,)), "ca-key.pem": NEXT.key_pem},
    "another-root": cacerts(SIGNER, roots=(make_ca("other"),)),
    "half": {key: text for key, text in cacerts(SIGNER, roots=(ROOT,)).items() if key != "root-cert.pem"},
    "not-a-ca": cacerts(make_ca("signer", ROOT, constraints=None), roots=(ROOT,)),
    "root-without-room": tls(
        short := make_ca("r", constraints=x509.BasicConstraints(ca=True, path_length=0)), roots=(short,)
    ),
    "root-of-another-key": {**tls(ROOT, roots=(ROOT,)), "tls.key": Ca(ROOT.certificate, ec_key()).key_pem},
}

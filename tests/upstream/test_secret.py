"""A CA in a Secret: one root of many replicas, Istio's CAs taken over and handed back, bad ones refused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest
from cryptography import x509

from meshca.authority.secret_source import Overtaken
from meshca.authority.slot import Slot
from meshca.authority.upstream import Offer
from meshca.config.upstream import SecretConfig
from meshca.errors import ConfigError, MeshcaError, Unavailable
from meshca.identity.key_type import KeyType
from meshca.upstream.secret import SecretUpstream, check, open_
from tests.fakes.cacerts import cacerts, tls
from tests.fakes.clock import FakeClock
from tests.fakes.logs import captured_logs
from tests.fakes.pki import DAY, NOW, TRUST_DOMAIN, Ca, ec_key, make_ca, rsa_key
from tests.fakes.secret_source import FakeSecrets, FakeSource

ISTIO = "istio.io/ca-root"
MAY_CREATE = SecretConfig(kind="secret", create=True)
MAY_NOT = SecretConfig(kind="secret")
ROOT = make_ca("root")
SIGNER, NEXT = make_ca("signer", ROOT), make_ca("next", ROOT)
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
    source = FakeSource(store, config.names)
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


class TestFirstStart:
    """What is made when there is nothing."""

    async def test_not_unless_configured(self) -> None:
        """Without `create` nothing is made, and what to do is said."""
        store = FakeSecrets()
        upstream, _ = upstream_of(store, MAY_NOT)
        with pytest.raises(Unavailable) as caught:
            await upstream.obtain()
        assert caught.value.detail == (
            "Secrets cacerts, istio-ca-secret in namespace istio-system: none holds a CA; put a CA there, or set"
            " upstream.create to begin with a new root"
        )
        assert store.held == {}

    async def test_made_in_the_last(self) -> None:
        """A root is made in the last of the Secrets, in Istio's own form."""
        store = FakeSecrets()
        offer = await upstream_of(store)[0].obtain()
        [secret] = store.held.values()
        assert (secret.name, secret.kind) == ("istio-ca-secret", ISTIO)
        assert [x509.load_pem_x509_certificate(secret.contents["ca-cert.pem"])] == [*offer.material.roots]

    @pytest.mark.parametrize("key_type", list(KeyType))
    async def test_key_types(self, key_type: KeyType) -> None:
        """Root and intermediate are of the configured key type."""
        config = MAY_CREATE.model_copy(update={"key_type": key_type})
        offer = await upstream_of(FakeSecrets(), config)[0].obtain()
        assert Slot.prove(offer.material, TRUST_DOMAIN, NOW).path == (
            offer.material.certificate,
            offer.material.roots[0],
        )

    async def test_lifetimes(self) -> None:
        """The root lasts ten years, the intermediate thirty days, to be renewed at half of them."""
        offer = await upstream_of(FakeSecrets())[0].obtain()
        assert offer.material.roots[0].not_valid_after_utc == NOW + 3650 * DAY
        assert offer.material.certificate.not_valid_after_utc == NOW + 30 * DAY
        assert offer.renew_at == NOW + 15 * DAY

    async def test_many_at_once(self) -> None:
        """However many replicas start at once, they end with one root and an intermediate each."""
        store = FakeSecrets()
        replicas = [upstream_of(store) for _ in range(10)]
        for _, source in replicas:
            source.before_writing.clear()
        tasks = [asyncio.create_task(upstream.obtain()) for upstream, _ in replicas]
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
        await upstream.obtain()
        assert store.held["istio-ca-secret"].kind == "Opaque"
        assert store.held["istio-ca-secret"].contents["ca-key.pem"]

    async def test_filled_by_another(self) -> None:
        """When another replica fills it first, its root is ours too."""
        store = FakeSecrets()
        store.put("istio-ca-secret", {})
        upstream, source = upstream_of(store)
        source.before_writing.clear()
        task = asyncio.create_task(upstream.obtain())
        for _ in range(5):
            await asyncio.sleep(0)
        other = await upstream_of(store)[0].obtain()
        source.before_writing.set()
        assert (await task).material.root_set == other.material.root_set

    async def test_always_overtaken(self) -> None:
        """Whoever loses every time without ever seeing a CA gives up for now."""
        store = FakeSecrets()
        upstream, source = upstream_of(store)
        source.errors["create"] = Overtaken("test", "it exists")
        with pytest.raises(Unavailable, match="others write the Secrets all the time"):
            await upstream.obtain()
        assert store.reads == 5

    @pytest.mark.parametrize("method", ["read", "create"])
    async def test_not_permitted(self, method: str) -> None:
        """A missing permission is passed on as it is, and nothing is made."""
        store = FakeSecrets()
        upstream, source = upstream_of(store)
        source.errors[method] = FORBIDDEN
        with pytest.raises(Unavailable, match="get secrets in istio-system: forbidden"):
            await upstream.obtain()
        assert store.held == {}

    async def test_audited(self) -> None:
        """Whoever makes the root says so; whoever was overtaken does not. Every intermediate is told."""
        store = FakeSecrets()
        with captured_logs() as logs:
            for _ in range(2):
                await upstream_of(store)[0].obtain()
        assert [line["kind"] for line in logs if line["event"] == "ca.signed"] == [
            "root",
            "intermediate",
            "intermediate",
        ]


class TestIstio:
    """From Istio to meshca and back, with Istio's own Secrets."""

    async def test_self_signed(self) -> None:
        """Below Istio's root each replica signs by an intermediate of its own; the Secret is not touched."""
        store, root = FakeSecrets(), istio_root()
        put_istio(store, root)
        before = dict(store.held)
        offers = [await upstream_of(store)[0].obtain() for _ in range(3)]
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
        offer = await upstream_of(store)[0].obtain()
        assert offer.material.roots == (new.certificate,)

    async def test_an_old_root(self) -> None:
        """A root of an Istio before 1.8, which has no key identifier, can be moved too."""
        store, root = FakeSecrets(), istio_root(key_id=False)
        put_istio(store, root)
        assert verifies(await upstream_of(store)[0].obtain(), root.certificate)

    async def test_a_root_that_istio_just_made(self) -> None:
        """Istio does not back-date its root; that an intermediate begins earlier harms nobody."""
        store, root = FakeSecrets(), istio_root(begin=NOW)
        put_istio(store, root)
        assert verifies(await upstream_of(store)[0].obtain(), root.certificate)

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
        offer = await upstream_of(store)[0].obtain()
        assert (offer.material.certificate, offer.renew_at) == (SIGNER.certificate, None)

    async def test_plugged_in_root(self) -> None:
        """A plugged-in root stays where it is as well: an intermediate signs."""
        store = FakeSecrets()
        store.put("cacerts", tls(ROOT, roots=(ROOT, make_ca("old root"))), "kubernetes.io/tls")
        offer = await upstream_of(store)[0].obtain()
        assert offer.material.certificate.issuer == ROOT.certificate.subject
        assert len(offer.material.roots) == 2

    async def test_back(self) -> None:
        """Where Istio looks for its root there is the one that signed our intermediates."""
        store = FakeSecrets()
        offer = await upstream_of(store)[0].obtain()
        root = x509.load_pem_x509_certificate(store.held["istio-ca-secret"].contents["ca-cert.pem"])
        offer.material.certificate.verify_directly_issued_by(root)


class TestLater:
    """What happens while it serves."""

    async def test_the_same_intermediate(self) -> None:
        """Asked again, and after a change that is none, the intermediate is the same."""
        store, root = FakeSecrets(), istio_root()
        put_istio(store, root)
        upstream, _ = upstream_of(store)
        first = await upstream.obtain()
        put_istio(store, root)
        assert (await upstream.obtain()).material.fingerprint == first.material.fingerprint

    async def test_renewed_at_half_life(self) -> None:
        """At half of its life the intermediate is made anew, with its own key and subject."""
        store, clock = FakeSecrets(), FakeClock()
        upstream, _ = upstream_of(store, clock=clock)
        first = await upstream.obtain()
        clock.move((15 * DAY).total_seconds() - 1)
        assert (await upstream.obtain()).material.fingerprint == first.material.fingerprint
        clock.move(1)
        second = await upstream.obtain()
        assert second.material.root_set == first.material.root_set
        assert second.material.certificate.subject != first.material.certificate.subject
        assert second.material.key.public_key() != first.material.key.public_key()

    async def test_not_renewed_past_its_root(self) -> None:
        """An intermediate that lasts as long as its root is not made anew."""
        store = FakeSecrets()
        put_istio(store, istio_root(end=NOW + 10 * DAY))
        clock = FakeClock()
        upstream, _ = upstream_of(store, clock=clock)
        first = await upstream.obtain()
        clock.move((9 * DAY).total_seconds())
        assert (first.renew_at, (await upstream.obtain()).material.fingerprint) == (
            None,
            first.material.fingerprint,
        )

    async def test_plugged_in_anew(self) -> None:
        """A new intermediate under the same root is offered once it is in the Secret."""
        store = FakeSecrets()
        store.put("cacerts", cacerts(SIGNER, roots=(ROOT,)))
        upstream, _ = upstream_of(store)
        await upstream.obtain()
        store.put("cacerts", cacerts(NEXT, roots=(ROOT,)))
        await asyncio.wait_for(upstream.changed(), 1)
        assert (await upstream.obtain()).material.certificate == NEXT.certificate

    async def test_gone(self) -> None:
        """A Secret that was deleted is missed, and never made anew while its root is in force here."""
        store = FakeSecrets()
        upstream, _ = upstream_of(store)
        await upstream.obtain()
        store.remove("istio-ca-secret")
        await asyncio.wait_for(upstream.changed(), 1)
        with pytest.raises(ConfigError, match="no Secret holds a CA any more; put it back"):
            await upstream.obtain()
        assert store.held == {}

    async def test_a_weightier_one_appears(self) -> None:
        """A plugged-in CA that is put beside Istio's counts from then on; rotation decides about its root."""
        store = FakeSecrets()
        upstream, _ = upstream_of(store)
        await upstream.obtain()
        store.put("cacerts", cacerts(SIGNER, roots=(ROOT,)))
        assert (await upstream.obtain()).material.roots == (ROOT.certificate,)


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
        await upstream_of(store)[0].obtain()
    assert caught.value.source == "Secret cacerts in namespace istio-system"
    assert any(WHY[name] in problem for problem in caught.value.problems), caught.value.problems
    assert "PRIVATE" not in str(caught.value)


async def test_refused_is_not_replaced() -> None:
    """A damaged Secret is never replaced by a new root, nor passed over for another."""
    store = FakeSecrets()
    store.put("cacerts", BAD["half"])
    put_istio(store, istio_root())
    before = dict(store.held)
    with pytest.raises(ConfigError):
        await upstream_of(store)[0].obtain()
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
            await upstream.obtain()


async def test_short_lives() -> None:
    """An intermediate that lives for seconds is renewed at half of them too, not at once."""
    config = MAY_CREATE.model_copy(update={"intermediate_lifetime": timedelta(seconds=8)})
    assert (await upstream_of(FakeSecrets(), config)[0].obtain()).renew_at == NOW + timedelta(seconds=4)


class TestLost:
    """The Secret is gone, and workloads still trust what it held."""

    async def test_no_new_root(self) -> None:
        """None is made; it is told what is alive where, and what to do."""
        store = FakeSecrets()
        with pytest.raises(Unavailable) as refused:
            await upstream_of(store, published=FakePublished(ROOT.pem))[0].obtain()
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
            await upstream.obtain()
        store.put("cacerts", cacerts(SIGNER, roots=(ROOT,)))
        assert verifies(await upstream.obtain(), ROOT.certificate)

    @pytest.mark.parametrize(
        "text",
        ["", "junk", make_ca("ended", begin=NOW - 2 * DAY, end=NOW - DAY).pem],
        ids=["none", "junk", "ended"],
    )
    async def test_nothing_to_lose(self, text: str) -> None:
        """Without a living root published the first start makes one."""
        store = FakeSecrets()
        await upstream_of(store, published=FakePublished(text))[0].obtain()
        assert "istio-ca-secret" in store.held

    async def test_unknown(self) -> None:
        """While it cannot be found out none is made, and the missing permission is named."""
        store, published = FakeSecrets(), FakePublished()
        published.error = Unavailable("kube_forbidden", "home: get configmaps in istio-system: forbidden")
        with pytest.raises(Unavailable, match="holds a root is not known: home: get configmaps in istio-system"):
            await upstream_of(store, published=published)[0].obtain()
        assert store.held == {}

    async def test_another_replica_began(self) -> None:
        """What a replica that was first made and published meanwhile is taken, not missed."""
        store, published = FakeSecrets(), FakePublished(ROOT.pem)
        published.meanwhile = lambda: store.put("cacerts", cacerts(SIGNER, roots=(ROOT,)))
        upstream, _ = upstream_of(store, published=published)
        assert verifies(await upstream.obtain(), ROOT.certificate)

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

"""A CA in a Secret: one root of many replicas, Istio's CAs taken over and handed back, bad ones refused."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from datetime import timedelta

import pytest
from cryptography import x509

from meshca.authority.material import certificate_id
from meshca.authority.secret_source import Overtaken
from meshca.authority.slot import Slot
from meshca.authority.upstream import Offer
from meshca.config.upstream import SecretConfig
from meshca.errors import ConfigError, InvariantBroken, MeshcaError, Refused, Unavailable
from meshca.identity.key_type import KeyType
from meshca.upstream import secret_beginning
from meshca.upstream.secret import SecretUpstream, check, open_, secret_names
from tests.fakes.cacerts import cacerts, tls
from tests.fakes.clock import FakeClock
from tests.fakes.logs import captured_logs
from tests.fakes.pki import DAY, NARROW, NOW, TRUST_DOMAIN, Ca, ec_key, make_ca, rsa_key
from tests.fakes.secret_source import FakeSecrets, FakeSource
from tests.fakes.upstream import first_offer

ISTIO = "istio.io/ca-root"
MAY_CREATE = SecretConfig(kind="secret", create=True)
MAY_NOT = SecretConfig(kind="secret")
ROOT = make_ca("root")
SIGNER, NEXT = make_ca("signer", ROOT), make_ca("next", ROOT)
OTHER, THIRD = make_ca("other root", begin=NOW - DAY / 2), make_ca("third root", begin=NOW - DAY / 3)
OTHERS = make_ca("other signer", OTHER)
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


async def told(upstream: SecretUpstream) -> list[tuple[str, bool, bool]]:
    """The lines: subject, whether it signs, whether it is wanted."""
    return [
        (line.root.subject.rfc4514_string().removeprefix("CN="), line.signs, line.wanted)
        for line in await upstream.lines()
    ]


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


class TestPluggedIn:
    """An operator changes the root of a plugged-in CA."""

    async def test_current(self) -> None:
        """The line of the Secret's own signer is the current one, not one that is kept in memory."""
        store = FakeSecrets()
        store.put("cacerts", cacerts(SIGNER, roots=(ROOT,)))
        upstream, _ = upstream_of(store)
        assert [line.current for line in await upstream.lines()] == [True]
        store.put("cacerts", cacerts(OTHERS, roots=(OTHER, ROOT)))
        assert [line.current for line in await upstream.lines()] == [False, True]

    async def test_old_line_in_memory(self) -> None:
        """What was plugged in before signs here until it is forgotten; a restart has what the Secret holds."""
        store = FakeSecrets()
        store.put("cacerts", cacerts(SIGNER, roots=(ROOT,)))
        upstream, _ = upstream_of(store)
        await upstream.lines()
        store.put("cacerts", cacerts(OTHERS, roots=(OTHER, THIRD)))
        assert await told(upstream) == [
            ("root", True, False),
            ("other root", True, True),
            ("third root", False, True),
        ]
        assert (await upstream.obtain(certificate_id(ROOT.certificate))).material.certificate == SIGNER.certificate
        restarted, _ = upstream_of(store)
        assert await told(restarted) == [("other root", True, True), ("third root", False, True)]
        with pytest.raises(ConfigError, match=r"nothing signs below the root .*; put its CA back"):
            await restarted.obtain(certificate_id(ROOT.certificate))
        await upstream.forget({certificate_id(OTHER.certificate)})
        assert await told(upstream) == await told(restarted)

    async def test_bad(self) -> None:
        """A bad Secret hides nothing: what it named last is there and signs, and the problem is told."""
        store = FakeSecrets()
        store.put("cacerts", cacerts(SIGNER, roots=(ROOT, OTHER)))
        upstream, _ = upstream_of(store)
        before = await told(upstream)
        store.put("cacerts", BAD["half"])
        assert await told(upstream) == before == [("root", True, True), ("other root", False, True)]
        assert "root-cert.pem: is missing" in str(upstream.problem)
        assert (await upstream.obtain(certificate_id(ROOT.certificate))).material.certificate == SIGNER.certificate
        store.put("cacerts", cacerts(NEXT, roots=(ROOT,)))
        await upstream.lines()
        assert upstream.problem is None

    async def test_kept_has_expired(self) -> None:
        """What is in memory and has expired signs nothing any more, and says so with what is wrong now."""
        store, clock = FakeSecrets(), FakeClock()
        store.put("cacerts", cacerts(make_ca("short", ROOT, end=NOW + DAY), roots=(ROOT,)))
        upstream, _ = upstream_of(store, clock=clock)
        await upstream.lines()
        store.put("cacerts", BAD["half"])
        clock.move((2 * DAY).total_seconds())
        with pytest.raises(ConfigError, match=r"root-cert\.pem: is missing"):
            await upstream.lines()
        with pytest.raises(ConfigError, match=r"(?s)expired at .*root-cert\.pem: is missing"):
            await upstream.obtain(certificate_id(ROOT.certificate))

    @pytest.mark.parametrize(
        ("root", "problem"),
        [
            pytest.param(make_ca("next root", end=NOW), "expired at", id="expired"),
            pytest.param(make_ca("next root", constraints=None), "a root but not a CA", id="not-a-ca"),
            pytest.param(make_ca("next root", key=rsa_key(1024)), "too weak, or not known", id="weak"),
            pytest.param(make_ca("root"), "its subject is in use by another root", id="subject-in-use"),
            pytest.param(
                make_ca("next root", extra=[NARROW]), "a trial certificate does not verify", id="no-trial-leaf"
            ),
        ],
    )
    @pytest.mark.parametrize("with_key", [False, True], ids=["signer", "root"])
    async def test_bad_new_root(self, root: Ca, problem: str, with_key: bool) -> None:  # noqa: FBT001 - a row's part
        """A new root that is unsound is refused before anything changes, with its key or without."""
        store = FakeSecrets()
        store.put("cacerts", cacerts(SIGNER, roots=(ROOT,)))
        upstream, _ = upstream_of(store)
        before = await told(upstream)
        assert not any(line.made for line in await upstream.lines())
        store.put("cacerts", cacerts(root if with_key else make_ca("next", root), roots=(root,)))
        assert await told(upstream) == before
        assert problem in str(upstream.problem)

    @pytest.mark.parametrize("contents", [cacerts(SIGNER, roots=(ROOT,)), tls(ROOT, roots=(ROOT,))])
    async def test_roots_are_not_made_beside_it(self, contents: dict[str, str]) -> None:
        """Asked to make a root it says where to put one, and writes nothing; with a root's key too."""
        store = FakeSecrets()
        store.put("cacerts", contents)
        before = dict(store.held)
        with pytest.raises(Refused) as refused:
            await upstream_of(store)[0].make_root()
        assert refused.value.reason == "upstream"
        assert refused.value.detail == (
            "the CA in Secret cacerts in namespace istio-system is plugged in, and no root is made beside it; put"
            " a signing certificate below the new root there, and name both roots there"
        )
        assert store.held == before

    async def test_it_is_left(self) -> None:
        """What an operator plugged in is left where it is, though it is not to be kept."""
        store = FakeSecrets()
        upstream, _ = upstream_of(store)
        old = certificate_id((await first_offer(upstream)).material.roots[0])
        store.put("cacerts", cacerts(SIGNER, roots=(ROOT,)))
        before = dict(store.held)
        for keep in (old, certificate_id(ROOT.certificate)):
            await upstream.forget({keep})
        assert store.held == before


async def begun_store() -> tuple[FakeSecrets, str]:
    """Secrets in which a root was made, and that root."""
    store = FakeSecrets()
    [line] = await upstream_of(store)[0].lines()
    return store, certificate_id(line.root)


class TestFollowing:
    """A root that was made here is followed by another."""

    @pytest.mark.parametrize("put", [True, False], ids=["istio's", "ours"])
    async def test_made(self, put: bool) -> None:  # noqa: FBT001 - a row's part
        """It is made in a Secret of its own with a new key; both sign for every replica, and the first is left."""
        store = FakeSecrets()
        if put:
            put_istio(store, istio_root(key=rsa_key()))
        upstream, _ = upstream_of(store, MAY_NOT if put else MAY_CREATE)
        [old] = await upstream.lines()
        before = dict(store.held)
        made = await upstream.make_root()
        assert (made.signs, made.wanted, made.made) == (True, True, True)
        assert [line.made for line in await upstream.lines()] == [True, True]
        assert store.held["istio-ca-secret"] == before["istio-ca-secret"]
        assert store.held[SPARE].kind == ISTIO
        assert made.root.public_key() != old.root.public_key()
        for replica in (upstream, upstream_of(store)[0]):
            assert {line.root: line.signs for line in await replica.lines()} == {old.root: True, made.root: True}
            for line in await replica.lines():
                assert verifies(await replica.obtain(certificate_id(line.root)), line.root)

    async def test_not_allowed_to(self) -> None:
        """With `rotate` off no root is made, nothing is written, and what to set is said."""
        store = FakeSecrets()
        put_istio(store, istio_root())
        before = dict(store.held)
        with pytest.raises(Refused) as refused:
            await upstream_of(store, MAY_NOT.model_copy(update={"rotate": False}))[0].make_root()
        assert refused.value.reason == "upstream"
        assert refused.value.detail == (
            "upstream.rotate is off, so no root is made to follow another; set it, and let our account create and"
            " update Secret istio-ca-secret-next in namespace istio-system"
        )
        assert store.held == before

    async def test_restart_offers_below_both(self) -> None:
        """A replica that restarts signs below both roots."""
        store, old = await begun_store()
        new = certificate_id((await upstream_of(store)[0].make_root()).root)
        replica, _ = upstream_of(store)
        assert [certificate_id((await replica.obtain(root)).material.roots[0]) for root in (old, new)] == [
            old,
            new,
        ]

    async def test_same_key(self) -> None:
        """Asked to, it uses the key again."""
        store, old = await begun_store()
        upstream, _ = upstream_of(store)
        made = await upstream.make_root(same_key=old)
        [first] = [line for line in await upstream.lines() if certificate_id(line.root) == old]
        assert made.root.public_key() == first.root.public_key()
        assert made.root.subject != first.root.subject

    async def test_same_key_of_nobody(self) -> None:
        """A root that is not there has no key to be used again; the one that is there is named."""
        store, old = await begun_store()
        with pytest.raises(Refused, match=f"no root ffff whose key could be used again; name {old}"):
            await upstream_of(store)[0].make_root(same_key="ffff")

    async def test_race(self) -> None:
        """Replicas that make one at once end with one."""
        store, _ = await begun_store()
        replicas = [upstream_of(store) for _ in range(5)]
        for _, source in replicas:
            source.before_writing.clear()
        tasks = [asyncio.create_task(upstream.make_root()) for upstream, _ in replicas]
        for _ in range(5):
            await asyncio.sleep(0)
        for _, source in replicas:
            source.before_writing.set()
        assert len({line.root for line in await asyncio.gather(*tasks)}) == 1

    @pytest.mark.parametrize("same", [False, True])
    async def test_another_kind_is_there(self, same: bool) -> None:  # noqa: FBT001 - a row's part
        """A root of another kind than was asked for that is there already is not taken for it."""
        store, old = await begun_store()
        upstream, _ = upstream_of(store)
        made = await upstream.make_root(same_key=old if same else "")
        which = "the key of the one before" if same else "a key of its own"
        with pytest.raises(
            Refused, match=f"holds a root already that has {which} .sha256 {certificate_id(made.root)}.; abort"
        ):
            await upstream.make_root(same_key="" if same else old)

    async def test_empty_spare_is_filled(self) -> None:
        """A Secret that somebody made beforehand is filled, so that we need not create one, and emptied again."""
        store, old = await begun_store()
        store.put(SPARE, {})
        upstream, source = upstream_of(store)
        source.errors["create"] = FORBIDDEN
        made = await upstream.make_root()
        assert store.held[SPARE].contents["ca-key.pem"]
        await upstream.lines()
        await upstream.forget({old})
        assert (store.held[SPARE].contents, store.held[SPARE].kind) == ({}, "Opaque")
        assert certificate_id(made.root) not in {certificate_id(line.root) for line in await upstream.lines()}

    async def test_bad_spare(self) -> None:
        """What holds no sound root there is not overwritten, is told, and hides nothing."""
        store, old = await begun_store()
        store.put(SPARE, BAD["half"])
        upstream, _ = upstream_of(store)
        assert [certificate_id(line.root) for line in await upstream.lines()] == [old]
        assert upstream.problem is not None
        assert upstream.problem.source == f"Secret {SPARE} in namespace istio-system"
        with pytest.raises(ConfigError, match=r"root-cert\.pem: is missing"):
            await upstream.make_root()
        assert "root-cert.pem" not in store.held[SPARE].contents

    async def test_both_bad(self) -> None:
        """Problems of both Secrets are told at once."""
        store, _ = await begun_store()
        store.put("istio-ca-secret", {"ca-cert.pem": "damaged"})
        store.put(SPARE, BAD["half"])
        with pytest.raises(ConfigError) as refused:
            await upstream_of(store)[0].lines()
        assert "ca-key.pem: is missing; all of ca-cert.pem, ca-key.pem are needed" in refused.value.problems
        assert any(line.startswith(f"Secret {SPARE}: root-cert.pem") for line in refused.value.problems)

    async def test_main_lost(self) -> None:
        """While the first Secret is lost the one that follows signs, no first root is made, and it is told."""
        store, _ = await begun_store()
        new = (await upstream_of(store)[0].make_root()).root
        store.remove("istio-ca-secret")
        upstream, _ = upstream_of(store)
        assert [line.root for line in await upstream.lines()] == [new]
        assert "no Secret holds a CA any more" in str(upstream.problem)
        with pytest.raises(Unavailable, match=r"no root is there to be followed: .*no Secret holds a CA any more"):
            await upstream.make_root()
        assert list(store.held) == [SPARE]

    async def test_nothing_to_follow(self) -> None:
        """Where there is no root none follows."""
        with pytest.raises(Unavailable, match="no root is there to be followed: none holds a CA"):
            await upstream_of(FakeSecrets())[0].make_root()

    async def test_always_overtaken(self) -> None:
        """Whoever loses every time gives up for now, and nothing is left of it."""
        store, old = await begun_store()
        upstream, source = upstream_of(store)
        source.errors["create"] = Overtaken("test", "it exists")
        with pytest.raises(Unavailable, match="others write the Secrets all the time"):
            await upstream.make_root()
        del source.errors["create"]
        new = certificate_id((await upstream.make_root()).root)
        await upstream.lines()
        source.errors["replace"] = Overtaken("test", "it is another by now")
        with pytest.raises(Unavailable, match="others write the Secrets all the time"):
            await upstream.forget({new})
        assert {certificate_id(line.root) for line in await upstream.lines()} == {old, new}

    async def test_unsound(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A root that is not sound is refused before it is written."""
        store, _ = await begun_store()
        monkeypatch.setattr(secret_beginning, "new_key", lambda _: rsa_key(1024))
        with pytest.raises(ConfigError, match="too weak, or not known"):
            await upstream_of(store)[0].make_root()
        assert SPARE not in store.held


class TestForget:
    """The end of a change: what follows takes the place of the first."""

    @pytest.mark.parametrize("name", ["istio-ca-secret", "cacerts"])
    async def test_moves(self, name: str) -> None:
        """The new root moves to where the old one was, with Istio's marks, and the other Secret is empty."""
        store, root = FakeSecrets(), istio_root()
        contents = {"ca-cert.pem": root.pem, "ca-key.pem": root.key_pem, "istio-generated": ""}
        store.put(name, contents, ISTIO)
        upstream, _ = upstream_of(store)
        new = (await upstream.make_root()).root
        await upstream.lines()
        with captured_logs() as logs:
            await upstream.forget({certificate_id(new)})
        assert x509.load_pem_x509_certificate(store.held[name].contents["ca-cert.pem"]) == new
        assert ("istio-generated" in store.held[name].contents) == (name == "cacerts")
        assert (store.held[name].kind, store.held[SPARE].contents) == (ISTIO, {})
        for replica in (upstream, upstream_of(store)[0]):
            assert [line.root for line in await replica.lines()] == [new]
            assert verifies(await replica.obtain(certificate_id(new)), new)
        assert [(line["secret"], line["emptied"]) for line in logs] == [(name, False), (SPARE, True)]

    async def test_intermediate_stays(self) -> None:
        """The move changes nothing of what signs."""
        store, _ = await begun_store()
        upstream, _ = upstream_of(store)
        new = certificate_id((await upstream.make_root()).root)
        before = await upstream.obtain(new)
        await upstream.lines()
        await upstream.forget({new})
        assert (await upstream.obtain(new)).material.fingerprint == before.material.fingerprint

    async def test_aborted(self) -> None:
        """A root that shall not follow after all goes, and the first is left as it is."""
        store, old = await begun_store()
        upstream, _ = upstream_of(store)
        before = store.held["istio-ca-secret"]
        new = certificate_id((await upstream.make_root()).root)
        await upstream.obtain(new)
        await upstream.lines()
        await upstream.forget({old})
        assert (store.held["istio-ca-secret"], store.held[SPARE].contents) == (before, {})
        assert [certificate_id(line.root) for line in await upstream.lines()] == [old]
        with pytest.raises(ConfigError):
            await upstream.obtain(new)

    async def test_both_kept(self) -> None:
        """While both are to be kept nothing is written."""
        store, old = await begun_store()
        upstream, _ = upstream_of(store)
        new = certificate_id((await upstream.make_root()).root)
        before = dict(store.held)
        await upstream.lines()
        await upstream.forget({old, new})
        assert store.held == before

    @pytest.mark.parametrize("between", [False, True], ids=["before", "between"])
    async def test_made_by_another_meanwhile(self, between: bool) -> None:  # noqa: FBT001 - a row's part
        """A replica that tidies up late leaves the root that another has made since, and both see it."""
        store, _ = await begun_store()
        (late, source), (quick, _) = upstream_of(store), upstream_of(store)
        new = certificate_id((await quick.make_root()).root)
        for replica in (late, quick):
            await replica.lines()
        source.before_writing.clear()
        tidying = asyncio.create_task(late.forget({new}))
        if between:  # it has read, and is about to write
            for _ in range(5):
                await asyncio.sleep(0)
        await quick.forget({new})
        third = certificate_id((await quick.make_root()).root)
        source.before_writing.set()
        await tidying
        for replica in (late, quick):
            assert {certificate_id(line.root) for line in await replica.lines()} == {new, third}
            await replica.obtain(third)

    async def test_made_before_it_is_told(self) -> None:
        """Nothing is forgotten that nobody was told of; once it is, it can be."""
        store, old = await begun_store()
        upstream, _ = upstream_of(store)
        new = certificate_id((await upstream.make_root()).root)
        await upstream.forget({old})
        assert {certificate_id(line.root) for line in await upstream.lines()} == {old, new}
        await upstream.forget({old})
        assert {certificate_id(line.root) for line in await upstream.lines()} == {old}

    async def test_never_the_last(self) -> None:
        """Asked to keep none that signs, it keeps all."""
        store, _ = await begun_store()
        before = dict(store.held)
        with pytest.raises(InvariantBroken) as refused:
            await upstream_of(store)[0].forget({"ffff"})
        assert (refused.value.reason, store.held) == ("forget", before)

    async def test_again(self) -> None:
        """After it, another root can be made and follow in the same way."""
        store, _ = await begun_store()
        upstream, _ = upstream_of(store)
        for _ in range(2):
            new = (await upstream.make_root()).root
            await upstream.lines()
            await upstream.forget({certificate_id(new)})
            assert [line.root for line in await upstream.lines()] == [new]

    async def test_plugged_in_meanwhile(self) -> None:
        """What an operator plugged in meanwhile is not overwritten; what follows stays where it is."""
        store, _ = await begun_store()
        upstream, _ = upstream_of(store)
        new = certificate_id((await upstream.make_root()).root)
        await upstream.lines()
        store.put("cacerts", cacerts(SIGNER, roots=(ROOT,)))
        before = dict(store.held)
        await upstream.forget({new})
        assert store.held == before

    @pytest.mark.parametrize("keep_new", [True, False])
    @pytest.mark.parametrize("writes", [0, 1, 2])
    async def test_killed(self, keep_new: bool, writes: int) -> None:  # noqa: FBT001 - a row's part
        """A replica that is killed before any of its writes is followed by one that ends with the same."""
        store, old = await begun_store()
        new = certificate_id((await upstream_of(store)[0].make_root()).root)
        keep = new if keep_new else old
        doomed, source = upstream_of(store)
        await doomed.lines()
        source.writes_left = writes
        with contextlib.suppress(asyncio.CancelledError):
            await doomed.forget({keep})
        replica, _ = upstream_of(store)
        assert keep in {certificate_id(line.root) for line in await replica.lines()}
        await replica.forget({keep})
        assert [certificate_id(line.root) for line in await replica.lines()] == [keep]
        assert store.held[SPARE].contents == {}

    async def test_killed_before_the_second_change(self) -> None:
        """What was left in the second Secret by one who was killed after the move makes room for the next root."""
        store, _ = await begun_store()
        upstream, source = upstream_of(store)
        new = certificate_id((await upstream.make_root()).root)
        await upstream.lines()
        source.writes_left = 1
        with contextlib.suppress(asyncio.CancelledError):
            await upstream.forget({new})
        replica, _ = upstream_of(store)
        third = certificate_id((await replica.make_root()).root)
        assert third != new
        assert {certificate_id(line.root) for line in await replica.lines()} == {new, third}


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

"""Facts about the pipeline from a credential to a certificate."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from hypothesis import given
from hypothesis import strategies as st

from meshca import metrics
from meshca.admission.parse import parse, shipped
from meshca.authn.node_proxy import NodeProxies
from meshca.authority.serials import Serials
from meshca.authority.signing import Authority
from meshca.errors import (
    BadRequest,
    Denied,
    Exhausted,
    InvariantBroken,
    MeshcaError,
    Unauthenticated,
    Unavailable,
)
from meshca.identity.caller import BoundObject, Caller, Credential, ProvenBy
from meshca.identity.key_type import KeyType
from meshca.issuance import Issuing, Wish
from meshca.ledger.record import Result
from meshca.quota import PER_ASKER, Quota, Rate
from meshca.svid.profile import Profile
from tests.fakes.callers import caller
from tests.fakes.clock import FakeClock
from tests.fakes.ledger import FakeLedger
from tests.fakes.logs import captured_logs
from tests.fakes.node_proxies import WEB_ID, pod, proxies, proxy, proxy_pod
from tests.fakes.pki import TRUST_DOMAIN, WEB, ec_key, good_slot, make_csr
from tests.fakes.pods import FakePods
from tests.fakes.profiles import PROFILE

CREDENTIAL = Credential()
OTHER = x509.UniformResourceIdentifier("spiffe://cluster.local/ns/shop/sa/payments")
RSA_ONLY = """
rules:
  - name: rsa-only
    effect: grant
    match: {namespaces: ["*"]}
    grant: {identity: own, key_types: [rsa]}
"""

SHORT = """
rules:
  - name: short
    effect: grant
    match: {namespaces: ["*"]}
    grant: {identity: own, max_lifetime: 1h}
"""
NOBODY = """
rules:
  - name: nobody
    effect: refuse
    match: {namespaces: ["*"]}
"""


class Chain:
    """Proves whoever the test says."""

    name = "chain"

    def __init__(self) -> None:
        self.caller: Caller | None = caller()
        self.error: MeshcaError = Unauthenticated("no_credential", "nothing was shown")

    async def prove(self, credential: Credential) -> Caller:
        """The caller, or the error."""
        if self.caller is None:
            raise self.error
        return self.caller


class Rig:
    """A pipeline of real rooms with a fake chain, ledger and clock."""

    def __init__(
        self,
        *,
        strict: bool = False,
        profile: Profile | None = None,
        burst: int = 1000,
        node_proxies: NodeProxies | None = None,
    ) -> None:
        self.clock = FakeClock()
        self.chain = Chain()
        self.ledger = FakeLedger(self.clock)
        self.authority = Authority(Serials(5), PROFILE)
        self.authority.replace(good_slot())
        rate = Rate(per_second=1.0, burst=burst)
        self.issuing = Issuing(
            chain=self.chain,
            rules=shipped(TRUST_DOMAIN),
            profile=profile or PROFILE,
            strict=strict,
            authority=self.authority,
            ledger=self.ledger,
            quota=Quota(per_identity=rate, per_namespace=rate),
            clock=self.clock,
            node_proxies=node_proxies,
        )
        self.key = ec_key()

    async def issue(self, **wish: Any) -> x509.Certificate:
        """One issuance for the rig's key; the leaf."""
        wish.setdefault("csr", make_csr(self.key))
        issued = await self.issuing.issue(CREDENTIAL, lambda: Wish(**wish), "r1")
        return x509.load_pem_x509_certificate(issued.chain[0].encode())


@pytest.fixture
def rig() -> Rig:
    """A rig in Istio's mode."""
    return Rig()


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[Any]]:
    """What is logged."""
    with captured_logs() as entries:
        yield entries


def uris(leaf: x509.Certificate) -> list[str]:
    """The URI names."""
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return names.get_values_for_type(x509.UniformResourceIdentifier)


async def test_issues_the_callers_identity(rig: Rig) -> None:
    """The certificate has the caller's identity and the CSR's key."""
    leaf = await rig.issue()
    assert uris(leaf) == [str(WEB)]
    assert leaf.public_key() == rig.key.public_key()


async def test_recorded_before_and_after(rig: Rig) -> None:
    """The ledger holds intent and outcome, with who, how proven, and by which rule."""
    leaf = await rig.issue()
    (intent,) = rig.ledger.intents.values()
    assert intent.serial == f"{leaf.serial_number:x}"
    assert (intent.spiffe_id, intent.proven_by, intent.issuer) == (str(WEB), "jwks", "home")
    assert (intent.namespace, intent.service_account, intent.request_id) == ("shop", "web", "r1")
    assert intent.pod_name
    assert intent.node_name
    assert intent.rule == "own-identity-of-a-pod"
    assert intent.signer == rig.authority.current().issuer.signer_id
    assert rig.ledger.outcomes[intent.serial].result is Result.ISSUED


async def test_renewal_is_recorded_with_its_parent(rig: Rig) -> None:
    """A renewal names the certificate that proved the caller."""
    rig.chain.caller = caller(proven_by=ProvenBy.CLIENT_CERT, serial="ab12")
    await rig.issue()
    (intent,) = rig.ledger.intents.values()
    assert (intent.proven_by, intent.parent_serial) == ("client_cert", "ab12")


async def test_nothing_is_signed_without_an_intent(rig: Rig) -> None:
    """When the ledger cannot be written nothing is signed."""
    rig.ledger.down = True
    with pytest.raises(Unavailable) as caught:
        await rig.issue()
    assert caught.value.reason == "store"


async def test_failed_signature_is_recorded(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """An intent whose signature failed gets a failed outcome, with the reason."""

    def broken(*_: object) -> None:
        raise InvariantBroken("lint", "a rule would have been broken")

    monkeypatch.setattr(rig.authority, "sign", broken)
    with pytest.raises(InvariantBroken):
        await rig.issue()
    (outcome,) = rig.ledger.outcomes.values()
    assert (outcome.result, outcome.reason) == (Result.FAILED, "lint")


async def test_abandoned_call_is_recorded(rig: Rig, logs: list[Any]) -> None:
    """A call that was cancelled between intent and signature leaves a failed outcome and an audit event."""
    intend, reached = rig.ledger.intend, asyncio.Event()

    async def slow(intent: Any) -> None:
        await intend(intent)
        reached.set()
        await asyncio.Event().wait()

    rig.ledger.intend = slow  # type: ignore[method-assign] # a slow disk
    call = asyncio.create_task(rig.issue())
    await reached.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    (outcome,) = rig.ledger.outcomes.values()
    assert (outcome.result, outcome.reason) == (Result.FAILED, "abandoned")
    assert [(line["result"], line["reason"]) for line in logs] == [("failed", "abandoned")]


async def test_stranger_is_refused_before_anything_is_read(rig: Rig) -> None:
    """The request is not even read before the caller is proven."""
    rig.chain.caller = None

    def wish() -> Wish:
        raise AssertionError("read")

    with pytest.raises(Unauthenticated):
        await rig.issuing.issue(CREDENTIAL, wish, "r1")


async def test_authenticator_that_cannot_decide(rig: Rig) -> None:
    """Unavailable authentication is Unavailable, not a refusal."""
    rig.chain.caller, rig.chain.error = None, Unavailable("issuer_keys", "not fetched yet")
    with pytest.raises(Unavailable):
        await rig.issue()


async def test_csr_is_not_parsed_before_admission(rig: Rig) -> None:
    """A caller without a grant learns nothing about its CSR."""
    rig.chain.caller = caller(pod=None)
    with pytest.raises(Denied):
        await rig.issue(csr="garbage")


@pytest.mark.parametrize(
    ("wish", "slug"),
    [
        ({"csr": "garbage"}, "csr_format"),
        ({"lifetime_seconds": -1}, "duration"),
        ({"impersonated_identity": "spiffe://cluster.local/ns/a/sa/b"}, "impersonation"),
        ({"cert_signer": "other"}, "cert_signer"),
    ],
    ids=["csr", "duration", "impersonation", "signer"],
)
async def test_bad_request(rig: Rig, wish: dict[str, Any], slug: str) -> None:
    """What is wrong with the request is said, and leaves no trace in the ledger."""
    with pytest.raises(BadRequest) as caught:
        await rig.issue(**wish)
    assert caught.value.reason == slug
    assert rig.ledger.intents == {}


async def test_foreign_name_in_istio_mode(rig: Rig) -> None:
    """In Istio's mode a CSR for another identity gets only its caller's own."""
    assert uris(await rig.issue(csr=make_csr(rig.key, [OTHER]))) == [str(WEB)]


async def test_foreign_name_in_strict_mode() -> None:
    """In strict mode a CSR for another identity is refused."""
    rig = Rig(strict=True)
    with pytest.raises(BadRequest, match="csr_names"):
        await rig.issue(csr=make_csr(rig.key, [OTHER]))


async def test_key_type_outside_the_grant(rig: Rig) -> None:
    """A key of a type that the rule does not grant is denied."""
    rig.issuing.use_rules(parse(RSA_ONLY, "test", TRUST_DOMAIN))
    with pytest.raises(Denied, match="key_type"):
        await rig.issue()


async def test_new_rules_hold_for_the_next_request(rig: Rig) -> None:
    """Replaced admission rules decide at once."""
    await rig.issue()
    rig.issuing.use_rules(parse(NOBODY, "test", TRUST_DOMAIN))
    with pytest.raises(Denied):
        await rig.issue()


async def test_quota() -> None:
    """A caller over its limit is told when to come back; nothing was signed for it."""
    rig = Rig(burst=2)
    await rig.issue()
    with pytest.raises(Exhausted) as caught:
        await asyncio.gather(*(rig.issue() for _ in range(3)))
    assert caught.value.retry_after > 0


async def test_denied_callers_use_up_no_quota() -> None:
    """Who is refused takes nothing from the workloads of its namespace."""
    rig = Rig(burst=1)
    rig.issuing.use_rules(parse(NOBODY, "test", TRUST_DOMAIN))
    for _ in range(3):
        with pytest.raises(Denied):
            await rig.issue()
    rig.issuing.use_rules(shipped(TRUST_DOMAIN))
    await rig.issue()


async def test_wrong_requests_are_charged() -> None:
    """Parsing is what an admitted caller could make us do for nothing."""
    rig = Rig(burst=1)
    with pytest.raises(BadRequest):
        await rig.issue(csr="garbage")
    with pytest.raises(Exhausted):
        await rig.issue()


@pytest.mark.parametrize(
    ("asked", "granted", "clamped"),
    [(0, timedelta(hours=24), 0), (60, timedelta(minutes=1), 0), (91 * 86400, timedelta(days=30), 1)],
    ids=["default", "exact", "over the maximum"],
)
async def test_lifetime(rig: Rig, asked: int, granted: timedelta, clamped: int) -> None:
    """The lifetime is the asked one, no longer than allowed (and than the signer's 30 days); clamping counts."""
    before = metrics.lifetimes_clamped._value.get()
    leaf = await rig.issue(lifetime_seconds=asked)
    assert leaf.not_valid_after_utc - rig.clock.now() == granted
    assert metrics.lifetimes_clamped._value.get() - before == clamped


async def test_longer_than_granted_is_clamped(rig: Rig) -> None:
    """A rule's own maximum shortens the lifetime, and that counts as clamped."""
    rig.issuing.use_rules(parse(SHORT, "test", TRUST_DOMAIN))
    before = metrics.lifetimes_clamped._value.get()
    leaf = await rig.issue(lifetime_seconds=7200)
    assert leaf.not_valid_after_utc - rig.clock.now() == timedelta(hours=1)
    assert metrics.lifetimes_clamped._value.get() == before + 1


async def test_a_braked_caller_could_be_admitted(rig: Rig) -> None:
    """A brake stops certificates, not what only needs an issuer that may speak for the caller."""
    rig.issuing.use_rules(parse(SHORT + NOBODY.removeprefix("\nrules:\n"), "test", TRUST_DOMAIN))
    with pytest.raises(Denied, match="refused_by_rule"):
        await rig.issuing.admitted(CREDENTIAL)
    assert await rig.issuing.could_be_admitted(CREDENTIAL) == rig.chain.caller


async def test_an_issuer_without_a_rule_could_not_be_admitted(rig: Rig) -> None:
    """It is denied whatever it asks for, by the rules in force."""
    rig.chain.caller = caller(issuer="west")
    with pytest.raises(Denied, match="no_rule"):
        await rig.issuing.could_be_admitted(CREDENTIAL)


async def test_longer_refused_when_configured() -> None:
    """If so configured, a longer lifetime is refused instead."""
    rig = Rig(profile=replace(PROFILE, refuse_longer=True))
    with pytest.raises(BadRequest, match="duration"):
        await rig.issue(lifetime_seconds=91 * 86400)


async def test_server_key(rig: Rig) -> None:
    """With a key of our making the private key comes along, and is in no record."""
    issued, secret = await rig.issuing.issue_with_server_key(CREDENTIAL, "r2")
    leaf = x509.load_pem_x509_certificate(issued.chain[0].encode())
    key = load_pem_private_key(secret.reveal().encode(), None)
    (intent,) = rig.ledger.intents.values()
    assert key.public_key() == leaf.public_key()
    assert (intent.csr_sha256, intent.request_id) == ("", "r2")
    assert repr(secret) == "***"


async def test_server_key_of_a_granted_type(rig: Rig) -> None:
    """A key of our making has a type that the rule grants."""
    rig.issuing.use_rules(parse(RSA_ONLY, "test", TRUST_DOMAIN))
    await rig.issuing.issue_with_server_key(CREDENTIAL, "r2")
    (intent,) = rig.ledger.intents.values()
    assert intent.key_type == KeyType.RSA


class TestAdmitted:
    """Who may open a stream: whoever may be issued its own identity."""

    async def test_a_proven_caller_with_a_rule(self, rig: Rig) -> None:
        """The caller comes back."""
        assert await rig.issuing.admitted(CREDENTIAL) == rig.chain.caller

    async def test_nobody(self, rig: Rig) -> None:
        """Who is not proven is refused as at issuing."""
        rig.chain.caller = None
        with pytest.raises(Unauthenticated):
            await rig.issuing.admitted(CREDENTIAL)

    async def test_a_refused_caller(self, rig: Rig) -> None:
        """The emergency brake stops streams as well."""
        rig.issuing.use_rules(parse(NOBODY, "test", TRUST_DOMAIN))
        with pytest.raises(Denied) as caught:
            await rig.issuing.admitted(CREDENTIAL)
        assert caught.value.reason == "refused_by_rule"


class TestAudit:
    """One event and one count for each decision."""

    @pytest.mark.parametrize(
        ("break_", "result", "slug"),
        [
            (lambda _: None, "issued", ""),
            (lambda rig: setattr(rig.chain, "caller", None), "refused", "no_credential"),
            (lambda rig: setattr(rig.chain, "caller", caller(pod=None)), "denied", "no_rule"),
            (lambda rig: setattr(rig.ledger, "down", True), "failed", "store"),
        ],
        ids=["issued", "refused", "denied", "failed"],
    )
    async def test_result_and_reason(
        self, rig: Rig, logs: list[Any], break_: Callable[[Rig], None], result: str, slug: str
    ) -> None:
        """The event names result and reason, under the request id."""
        break_(rig)
        with contextlib.suppress(MeshcaError):
            await rig.issue()
        (line,) = [line for line in logs if line["event"] == "issuance.decided"]
        assert (line["result"], line["reason"], line["request_id"]) == (result, slug, "r1")

    async def test_any_exception_is_an_internal_failure(self, rig: Rig, logs: list[Any]) -> None:
        """An exception that is not ours is counted and logged as internal, without its text."""

        def broken() -> Wish:
            raise RuntimeError("password=hunter2")

        with pytest.raises(RuntimeError):
            await rig.issuing.issue(CREDENTIAL, broken, "r1")
        assert [(line["result"], line["reason"]) for line in logs] == [("failed", "internal")]
        assert "hunter2" not in str(logs)

    async def test_hashes_instead_of_material(self, rig: Rig, logs: list[Any]) -> None:
        """What is logged of a CSR and a key are hashes."""
        await rig.issue()
        assert len(logs[-1]["csr_sha256"]) == len(logs[-1]["key_sha256"]) == 64
        assert "BEGIN" not in str(logs)


@given(st.binary(max_size=200) | st.text(max_size=200), st.integers(-(2**63), 2**63 - 1), st.text(), st.text())
async def test_only_our_errors_come_out(csr: bytes | str, seconds: int, identity: str, signer: str) -> None:
    """Whatever is asked for, the answer is a certificate or an error of ours."""
    rig = Rig()
    wish = {"csr": csr, "lifetime_seconds": seconds, "impersonated_identity": identity, "cert_signer": signer}
    with contextlib.suppress(BadRequest):
        await rig.issue(**wish)


class TestForAWorkload:
    """A node proxy asks for a workload on its node."""

    @pytest.fixture
    def rig(self) -> Rig:
        """A pipeline that trusts ztunnel, which is proven, beside a pod of shop/web."""
        rig = Rig(node_proxies=proxies(proxy_pod(), pod(labels={"app": "web"})), burst=3)
        rig.chain.caller = proxy()
        return rig

    async def test_issues_the_workloads_identity(self, rig: Rig) -> None:
        """The certificate has the workload's identity and the key of the proxy's CSR."""
        leaf = await rig.issue(impersonated_identity=WEB_ID)
        assert uris(leaf) == [WEB_ID]
        assert leaf.public_key() == rig.key.public_key()

    async def test_the_ledger_names_both(self, rig: Rig) -> None:
        """Who is certified, on which pod, and which account asked for it."""
        await rig.issue(impersonated_identity=WEB_ID)
        (intent,) = rig.ledger.intents.values()
        assert (intent.spiffe_id, intent.namespace, intent.service_account) == (WEB_ID, "shop", "web")
        assert (intent.pod_name, intent.pod_uid, intent.labels) == ("web-1", "w1", {"app": "web"})
        assert (intent.requested_by, intent.proven_by) == ("istio-system/ztunnel", "node_proxy")
        assert (intent.issuer, intent.node_name, intent.token_id) == ("home", "node-1", "JTI=z")

    async def test_the_event_names_both(self, rig: Rig, logs: list[Any]) -> None:
        """So does the audit event."""
        await rig.issue(impersonated_identity=WEB_ID)
        (line,) = [line for line in logs if line["event"] == "issuance.decided"]
        assert (line["namespace"], line["pod"]) == ("shop", "web-1")
        assert (line["requested_by"], line["requested_by_pod"]) == ("istio-system/ztunnel", "ztunnel-1")

    async def test_its_own_identity_as_ever(self, rig: Rig) -> None:
        """Without the field the proxy gets its own, and nobody asked for it."""
        assert uris(await rig.issue()) == ["spiffe://cluster.local/ns/istio-system/sa/ztunnel"]
        (intent,) = rig.ledger.intents.values()
        assert (intent.requested_by, intent.proven_by) == ("", "token_review")

    async def test_a_refusal_is_opaque(self, rig: Rig, logs: list[Any]) -> None:
        """The client learns only that it is not believed; the log has the reason and who asked."""
        with pytest.raises(Unauthenticated) as caught:
            await rig.issue(impersonated_identity="spiffe://cluster.local/ns/shop/sa/api")
        assert (caught.value.reason, caught.value.public) == ("workload_not_on_node", Unauthenticated.public)
        (line,) = [line for line in logs if line["event"] == "issuance.decided"]
        assert (line["result"], line["service_account"]) == ("refused", "ztunnel")
        assert rig.ledger.intents == {}

    @pytest.mark.parametrize("account", ["web", "ztunnel"])
    async def test_the_brake(self, rig: Rig, account: str) -> None:
        """A rule that refuses the workload or its proxy stops it."""
        rules = f"""
rules:
  - name: brake
    effect: refuse
    match: {{service_accounts: [{account}]}}
  - name: all
    effect: grant
    match: {{}}
    grant: {{identity: own}}
"""
        rig.issuing.use_rules(parse(rules, "test", TRUST_DOMAIN))
        with pytest.raises(Denied) as caught:
            await rig.issue(impersonated_identity=WEB_ID)
        assert caught.value.reason == "refused_by_rule"

    async def test_the_workloads_quota(self, rig: Rig) -> None:
        """It is the workload's buckets that are charged, as for any first issue."""
        for _ in range(3):
            with contextlib.suppress(Exhausted):
                await rig.issue(impersonated_identity=WEB_ID)
        with pytest.raises(Exhausted) as caught:
            await rig.issue(impersonated_identity=WEB_ID)
        assert caught.value.reason == "identity_quota"
        await rig.issue()

    async def test_who_asks_for_nobody(self) -> None:
        """A proxy whose workloads are on no node is Exhausted in the end, and no API server is asked any more."""
        pods = FakePods(proxy_pod(), proxy_pod(name="ztunnel-2", uid="z2"), pod())
        rig = Rig(node_proxies=proxies(west=pods), burst=1)
        rig.chain.caller = proxy(issuer="west")
        for number in range(PER_ASKER):
            with pytest.raises(Unauthenticated, match="workload_not_on_node"):
                await rig.issue(impersonated_identity=f"spiffe://cluster.local/ns/n{number}/sa/web")
        asked = pods.asked
        with pytest.raises(Exhausted) as caught:
            await rig.issue(impersonated_identity=WEB_ID)
        assert (caught.value.reason, pods.asked) == ("node_proxy_quota", asked)
        rig.chain.caller = proxy(issuer="west", pod=BoundObject(name="ztunnel-2", uid="z2"))
        with pytest.raises(Denied, match="no_rule"):  # another pod's questions are still asked
            await rig.issue(impersonated_identity=WEB_ID)

    async def test_pods_that_are_not_known(self) -> None:
        """While its cluster cannot be asked the proxy is told to try again."""
        pods = FakePods()
        pods.down = Unavailable("kube_unreachable", "the API server cannot be reached")
        rig = Rig(node_proxies=proxies(west=pods))
        rig.chain.caller = proxy(issuer="west")
        with pytest.raises(Unavailable):
            await rig.issue(impersonated_identity=WEB_ID)

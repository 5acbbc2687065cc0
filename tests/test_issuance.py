"""Facts about the pipeline from a credential to a certificate."""

from __future__ import annotations

import asyncio
import contextlib
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
from meshca.errors import BadRequest, Denied, Exhausted, Unauthenticated, Unavailable
from meshca.identity.key_type import KeyType
from meshca.issuance import Wish
from tests.fakes.callers import caller
from tests.fakes.issuance_rig import CREDENTIAL, IssuanceRig, uris
from tests.fakes.pki import TRUST_DOMAIN, WEB, make_csr
from tests.fakes.profiles import PROFILE

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


@pytest.fixture
def rig() -> IssuanceRig:
    """A rig in Istio's mode."""
    return IssuanceRig()


async def test_issues_the_callers_identity(rig: IssuanceRig) -> None:
    """The certificate has the caller's identity and the CSR's key."""
    leaf = await rig.issue()
    assert uris(leaf) == [str(WEB)]
    assert leaf.public_key() == rig.key.public_key()


async def test_nothing_is_signed_without_an_intent(rig: IssuanceRig) -> None:
    """When the ledger cannot be written nothing is signed."""
    rig.ledger.down = True
    with pytest.raises(Unavailable) as caught:
        await rig.issue()
    assert caught.value.reason == "store"


async def test_stranger_is_refused_before_anything_is_read(rig: IssuanceRig) -> None:
    """The request is not even read before the caller is proven."""
    rig.chain.caller = None

    def wish() -> Wish:
        raise AssertionError("read")

    with pytest.raises(Unauthenticated):
        await rig.issuing.issue(CREDENTIAL, wish, "r1")


async def test_authenticator_that_cannot_decide(rig: IssuanceRig) -> None:
    """Unavailable authentication is Unavailable, not a refusal."""
    rig.chain.caller, rig.chain.error = None, Unavailable("issuer_keys", "not fetched yet")
    with pytest.raises(Unavailable):
        await rig.issue()


async def test_csr_is_not_parsed_before_admission(rig: IssuanceRig) -> None:
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
async def test_bad_request(rig: IssuanceRig, wish: dict[str, Any], slug: str) -> None:
    """What is wrong with the request is said, and leaves no trace in the ledger."""
    with pytest.raises(BadRequest) as caught:
        await rig.issue(**wish)
    assert caught.value.reason == slug
    assert rig.ledger.intents == {}


async def test_foreign_name_in_istio_mode(rig: IssuanceRig) -> None:
    """In Istio's mode a CSR for another identity gets only its caller's own."""
    assert uris(await rig.issue(csr=make_csr(rig.key, [OTHER]))) == [str(WEB)]


async def test_foreign_name_in_strict_mode() -> None:
    """In strict mode a CSR for another identity is refused."""
    rig = IssuanceRig(strict=True)
    with pytest.raises(BadRequest, match="csr_names"):
        await rig.issue(csr=make_csr(rig.key, [OTHER]))


async def test_key_type_outside_the_grant(rig: IssuanceRig) -> None:
    """A key of a type that the rule does not grant is denied."""
    rig.issuing.use_rules(parse(RSA_ONLY, "test", TRUST_DOMAIN))
    with pytest.raises(Denied, match="key_type"):
        await rig.issue()


async def test_new_rules_hold_for_the_next_request(rig: IssuanceRig) -> None:
    """Replaced admission rules decide at once."""
    await rig.issue()
    rig.issuing.use_rules(parse(NOBODY, "test", TRUST_DOMAIN))
    with pytest.raises(Denied):
        await rig.issue()


async def test_quota() -> None:
    """A caller over its limit is told when to come back; nothing was signed for it."""
    rig = IssuanceRig(burst=2)
    await rig.issue()
    with pytest.raises(Exhausted) as caught:
        await asyncio.gather(*(rig.issue() for _ in range(3)))
    assert caught.value.retry_after > 0


async def test_denied_callers_use_up_no_quota() -> None:
    """Who is refused takes nothing from the workloads of its namespace."""
    rig = IssuanceRig(burst=1)
    rig.issuing.use_rules(parse(NOBODY, "test", TRUST_DOMAIN))
    for _ in range(3):
        with pytest.raises(Denied):
            await rig.issue()
    rig.issuing.use_rules(shipped(TRUST_DOMAIN))
    await rig.issue()


async def test_wrong_requests_are_charged() -> None:
    """Parsing is what an admitted caller could make us do for nothing."""
    rig = IssuanceRig(burst=1)
    with pytest.raises(BadRequest):
        await rig.issue(csr="garbage")
    with pytest.raises(Exhausted):
        await rig.issue()


@pytest.mark.parametrize(
    ("asked", "granted", "clamped"),
    [(0, timedelta(hours=24), 0), (60, timedelta(minutes=1), 0), (91 * 86400, timedelta(days=30), 1)],
    ids=["default", "exact", "over the maximum"],
)
async def test_lifetime(rig: IssuanceRig, asked: int, granted: timedelta, clamped: int) -> None:
    """The lifetime is the asked one, no longer than allowed (and than the signer's 30 days); clamping counts."""
    before = metrics.lifetimes_clamped._value.get()
    leaf = await rig.issue(lifetime_seconds=asked)
    assert leaf.not_valid_after_utc - rig.clock.now() == granted
    assert metrics.lifetimes_clamped._value.get() - before == clamped


async def test_longer_than_granted_is_clamped(rig: IssuanceRig) -> None:
    """A rule's own maximum shortens the lifetime, and that counts as clamped."""
    rig.issuing.use_rules(parse(SHORT, "test", TRUST_DOMAIN))
    before = metrics.lifetimes_clamped._value.get()
    leaf = await rig.issue(lifetime_seconds=7200)
    assert leaf.not_valid_after_utc - rig.clock.now() == timedelta(hours=1)
    assert metrics.lifetimes_clamped._value.get() == before + 1


async def test_a_braked_caller_could_be_admitted(rig: IssuanceRig) -> None:
    """A brake stops certificates, not what only needs an issuer that may speak for the caller."""
    rig.issuing.use_rules(parse(SHORT + NOBODY.removeprefix("\nrules:\n"), "test", TRUST_DOMAIN))
    with pytest.raises(Denied, match="refused_by_rule"):
        await rig.issuing.admitted(CREDENTIAL)
    assert await rig.issuing.could_be_admitted(CREDENTIAL) == rig.chain.caller


async def test_an_issuer_without_a_rule_could_not_be_admitted(rig: IssuanceRig) -> None:
    """It is denied whatever it asks for, by the rules in force."""
    rig.chain.caller = caller(issuer="west")
    with pytest.raises(Denied, match="no_rule"):
        await rig.issuing.could_be_admitted(CREDENTIAL)


async def test_longer_refused_when_configured() -> None:
    """If so configured, a longer lifetime is refused instead."""
    rig = IssuanceRig(profile=replace(PROFILE, refuse_longer=True))
    with pytest.raises(BadRequest, match="duration"):
        await rig.issue(lifetime_seconds=91 * 86400)


async def test_server_key(rig: IssuanceRig) -> None:
    """With a key of our making the private key comes along, and is in no record."""
    issued, secret = await rig.issuing.issue_with_server_key(CREDENTIAL, "r2")
    leaf = x509.load_pem_x509_certificate(issued.chain[0].encode())
    key = load_pem_private_key(secret.reveal().encode(), None)
    (intent,) = rig.ledger.intents.values()
    assert key.public_key() == leaf.public_key()
    assert (intent.csr_sha256, intent.request_id) == ("", "r2")
    assert repr(secret) == "***"


async def test_server_key_of_a_granted_type(rig: IssuanceRig) -> None:
    """A key of our making has a type that the rule grants."""
    rig.issuing.use_rules(parse(RSA_ONLY, "test", TRUST_DOMAIN))
    await rig.issuing.issue_with_server_key(CREDENTIAL, "r2")
    (intent,) = rig.ledger.intents.values()
    assert intent.key_type == KeyType.RSA


class TestAdmitted:
    """Who may open a stream: whoever may be issued its own identity."""

    async def test_a_proven_caller_with_a_rule(self, rig: IssuanceRig) -> None:
        """The caller comes back."""
        assert await rig.issuing.admitted(CREDENTIAL) == rig.chain.caller

    async def test_nobody(self, rig: IssuanceRig) -> None:
        """Who is not proven is refused as at issuing."""
        rig.chain.caller = None
        with pytest.raises(Unauthenticated):
            await rig.issuing.admitted(CREDENTIAL)

    async def test_a_refused_caller(self, rig: IssuanceRig) -> None:
        """The emergency brake stops streams as well."""
        rig.issuing.use_rules(parse(NOBODY, "test", TRUST_DOMAIN))
        with pytest.raises(Denied) as caught:
            await rig.issuing.admitted(CREDENTIAL)
        assert caught.value.reason == "refused_by_rule"


@given(st.binary(max_size=200) | st.text(max_size=200), st.integers(-(2**63), 2**63 - 1), st.text(), st.text())
async def test_only_our_errors_come_out(csr: bytes | str, seconds: int, identity: str, signer: str) -> None:
    """Whatever is asked for, the answer is a certificate or an error of ours."""
    rig = IssuanceRig()
    wish = {"csr": csr, "lifetime_seconds": seconds, "impersonated_identity": identity, "cert_signer": signer}
    with contextlib.suppress(BadRequest):
        await rig.issue(**wish)

"""The CA's answer, read as if an enemy had written it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_der_public_key
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given, settings
from hypothesis import strategies as st

from meshca.agent.bundle import parse_bundle
from meshca.agent.chain import to_pem
from meshca.agent.keys import KeyChoice, fresh_key
from meshca.agent.svid import MOST_CERTIFICATES, Expected, Svid, accept, answered_roots
from meshca.errors import Unavailable
from meshca.identity.service_account import ServiceAccount
from meshca.identity.spiffe_id import SpiffeId, TrustDomain
from tests.fakes.ca import OWN, FakeCa, Mood, authority, certificate, svid_extensions, usage
from tests.fakes.clock import FakeClock

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CA = FakeCa(FakeClock(NOW))
KEY = fresh_key(KeyChoice.EC_P256, None)
TRUSTED = parse_bundle(CA.root.pem, NOW)
GOOD = CA.issue(KEY.csr)
NOBODY = Expected()


def taken(answer: Sequence[str], expected: Expected = NOBODY, now: datetime = NOW) -> Svid:
    """The answer accepted, or the refusal."""
    return accept(answer, KEY, TRUSTED, expected, now)


def leaf_with(*extensions: tuple[x509.ExtensionType, bool]) -> tuple[str, ...]:
    """An answer whose leaf has exactly these extensions."""
    leaf = certificate(
        "",
        load_der_public_key(KEY.public),
        CA.signer,
        CA.signer.key,
        begin=NOW - timedelta(hours=1),
        end=NOW + timedelta(hours=1),
        extensions=extensions,
    )
    return (to_pem([leaf]), *GOOD[1:])


def test_a_good_answer_is_taken() -> None:
    """Identity and validity come from the leaf."""
    svid = taken(GOOD)
    assert str(svid.identity) == OWN
    assert svid.not_after == NOW + timedelta(hours=24)
    assert svid.received_at == NOW
    assert svid.private == KEY.private


def test_the_chain_has_leaf_and_intermediate_but_no_root() -> None:
    """Peers hold the root already."""
    assert taken(GOOD).chain == GOOD[0] + GOOD[1]


def test_what_the_path_does_not_need_is_not_served() -> None:
    """Strangers' certificates in the answer go no further."""
    stranger = authority("stranger", NOW - timedelta(days=1), NOW + timedelta(days=1)).pem
    assert taken((*GOOD[:2], stranger, GOOD[2])).chain == GOOD[0] + GOOD[1]


def test_several_certificates_in_one_element_are_read() -> None:
    """Other CAs put the whole chain into the first element."""
    assert taken((GOOD[0] + GOOD[1], GOOD[2])).chain == GOOD[0] + GOOD[1]


def test_the_end_is_that_of_the_first_issuer_to_end() -> None:
    """A leaf is worth nothing after its intermediate."""
    signer = authority("signer", NOW - timedelta(days=1), NOW + timedelta(minutes=5), CA.root)
    leaf = certificate(
        "",
        load_der_public_key(KEY.public),
        signer,
        signer.key,
        begin=NOW - timedelta(hours=1),
        end=NOW + timedelta(hours=1),
        extensions=svid_extensions(OWN),
    )
    assert taken((to_pem([leaf]), signer.pem, CA.root.pem)).not_after == NOW + timedelta(minutes=5)


def test_validity_ends_at_not_after() -> None:
    """The instant itself is outside."""
    svid = taken(GOOD)
    assert svid.valid(svid.not_after)
    assert not svid.valid(svid.not_after + timedelta(seconds=1))
    assert not svid.valid(svid.not_before - timedelta(seconds=1))


def test_the_key_does_not_print_itself() -> None:
    """Not in a log line, not in a traceback."""
    assert "PRIVATE" not in repr(taken(GOOD))


@pytest.mark.parametrize(
    ("mood", "reason"),
    [
        (Mood.GARBAGE, "bad_answer"),
        (Mood.LEAF_ONLY, "bad_answer"),
        (Mood.WRONG_KEY, "wrong_key"),
        (Mood.EXPIRED, "answer_expired"),
        (Mood.FUTURE, "answer_not_yet_valid"),
        (Mood.FOREIGN_ROOT, "untrusted_chain"),
    ],
)
async def test_bad_answers_are_refused(mood: Mood, reason: str) -> None:
    """The roots that come with a foreign chain are not believed."""
    answer = await CA.answer(KEY.csr, mood)
    with pytest.raises(Unavailable) as caught:
        taken(answer)
    assert caught.value.reason == reason


SAN = svid_extensions(OWN)[0]
NO_CA, USAGE, PURPOSES = svid_extensions()[1:]


@pytest.mark.parametrize(
    ("extensions", "reason"),
    [
        pytest.param([NO_CA, USAGE, PURPOSES], "bad_answer", id="no SAN"),
        pytest.param([*svid_extensions(OWN, OWN + "2")], "wrong_identity", id="two URI SANs"),
        pytest.param([*svid_extensions("https://example.org/x")], "wrong_identity", id="no SPIFFE ID"),
        pytest.param([*svid_extensions("spiffe://cluster.local")], "wrong_identity", id="no path"),
        pytest.param([*svid_extensions("spiffe://cluster.local/ns/../sa/x")], "wrong_identity", id="dot segments"),
        pytest.param([SAN, NO_CA, PURPOSES], "bad_answer", id="no key usage"),
        pytest.param([SAN, NO_CA, (USAGE[0], False), PURPOSES], "bad_answer", id="key usage not critical"),
        pytest.param([SAN, NO_CA, (usage(signs=True), True), PURPOSES], "bad_answer", id="may sign certificates"),
        pytest.param(
            [SAN, (x509.BasicConstraints(ca=True, path_length=None), True), USAGE, PURPOSES],
            "bad_answer",
            id="a CA",
        ),
        pytest.param(
            [SAN, NO_CA, USAGE, (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)],
            "bad_answer",
            id="server only",
        ),
    ],
)
def test_a_leaf_that_breaks_the_rules_is_refused(
    extensions: list[tuple[x509.ExtensionType, bool]], reason: str
) -> None:
    """X509-SVID.md, rules X1 to X7."""
    with pytest.raises(Unavailable) as caught:
        taken(leaf_with(*extensions))
    assert caught.value.reason == reason


@pytest.mark.parametrize("extensions", [[SAN, USAGE], [SAN, NO_CA, USAGE]])
def test_optional_extensions_may_be_absent(extensions: list[tuple[x509.ExtensionType, bool]]) -> None:
    """Extended key usage is a SHOULD (X7); no basic constraints mean no CA."""
    assert str(taken(leaf_with(*extensions)).identity) == OWN


WEB = ServiceAccount(namespace="shop", name="web")
API = ServiceAccount(namespace="shop", name="api")


@pytest.mark.parametrize(
    "expected",
    [
        NOBODY,
        Expected(identity=SpiffeId.parse(OWN)),
        Expected(account=WEB, trust_domain=TrustDomain("cluster.local")),
    ],
)
def test_the_expected_identity_is_taken(expected: Expected) -> None:
    """And any, when nothing is known yet."""
    assert str(taken(GOOD, expected).identity) == OWN


@pytest.mark.parametrize(
    "expected",
    [
        Expected(identity=SpiffeId.parse("spiffe://other.org/ns/shop/sa/web")),
        Expected(account=API),
        Expected(account=WEB, trust_domain=TrustDomain("other.org")),
    ],
)
def test_another_identity_is_refused(expected: Expected) -> None:
    """Nobody makes us speak for somebody else."""
    with pytest.raises(Unavailable) as caught:
        taken(GOOD, expected)
    assert caught.value.reason == "wrong_identity"


def test_an_identity_that_is_no_service_account_is_refused_where_one_is_expected() -> None:
    """The path does not have the form /ns/.../sa/..."""
    with pytest.raises(Unavailable) as caught:
        taken(leaf_with(*svid_extensions("spiffe://cluster.local/vm/7")), Expected(account=WEB))
    assert caught.value.reason == "wrong_identity"


def test_too_many_elements_are_refused() -> None:
    """Before any of them is parsed."""
    with pytest.raises(Unavailable) as caught:
        taken(("x",) * (MOST_CERTIFICATES + 1))
    assert caught.value.reason == "bad_answer"


def test_roots_are_the_last_element() -> None:
    """Istio's contract; a leaf alone brings none."""
    assert answered_roots(GOOD) == CA.root.pem
    assert answered_roots(GOOD[:1]) == ""


@settings(max_examples=150, deadline=None)
@given(st.lists(st.text(max_size=30) | st.sampled_from(GOOD), max_size=6))
def test_any_answer_is_taken_or_refused_by_name(answer: list[str]) -> None:
    """Nothing else ever comes out."""
    try:
        svid = taken(answer)
    except Unavailable:
        return
    assert svid.chain.startswith(GOOD[0])


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(GOOD[0]) - 1), st.characters(min_codepoint=43, max_codepoint=122))
def test_a_damaged_leaf_is_refused(place: int, character: str) -> None:
    """Unless the change did not reach the certificate."""
    damaged = GOOD[0][:place] + character + GOOD[0][place + 1 :]
    try:
        svid = taken((damaged, *GOOD[1:]))
    except Unavailable:
        return
    assert svid.chain == GOOD[0] + GOOD[1]

"""Paths from a leaf to a trusted root."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from meshca.agent.chain import UNREADABLE, fingerprint, is_signer, to_pem, verify_path
from meshca.errors import Unavailable
from tests.fakes.ca import OWN, Pair, authority, certificate, new_key, svid_extensions, usage

NOW = datetime(2026, 1, 1, tzinfo=UTC)
BEGIN, END = NOW - timedelta(days=1), NOW + timedelta(days=1)
ROOT = authority("root", BEGIN, END)
OTHER = authority("root", BEGIN, END)
SIGNER = authority("signer", BEGIN, END, ROOT)


def leaf(issuer: Pair, *, begin: datetime = BEGIN, end: datetime = END) -> x509.Certificate:
    """A leaf below the issuer."""
    return certificate(
        "", new_key().public_key(), issuer, issuer.key, begin=begin, end=end, extensions=svid_extensions(OWN)
    )


def issuer_with(*extensions: tuple[x509.ExtensionType, bool]) -> Pair:
    """An intermediate below the root with only these extensions."""
    key = new_key()
    made = certificate("signer", key.public_key(), ROOT, ROOT.key, begin=BEGIN, end=END, extensions=extensions)
    return Pair(made, key)


def test_a_path_runs_from_leaf_to_root() -> None:
    """Leaf first, root last."""
    web = leaf(SIGNER)
    path = verify_path(web, [SIGNER.certificate], [OTHER.certificate, ROOT.certificate], NOW)
    assert path == (web, SIGNER.certificate, ROOT.certificate)


def test_certificates_that_lead_nowhere_are_left_out() -> None:
    """What the path does not need is not in it."""
    web = leaf(ROOT)
    assert verify_path(web, [SIGNER.certificate, web], [ROOT.certificate], NOW) == (web, ROOT.certificate)


NOT_CA = (x509.BasicConstraints(ca=False, path_length=None), True)
CA = (x509.BasicConstraints(ca=True, path_length=None), True)


@pytest.mark.parametrize(
    ("web", "issuers", "when"),
    [
        pytest.param(leaf(SIGNER), [], NOW, id="the intermediate is missing"),
        pytest.param(leaf(OTHER), [], NOW, id="another root of the same name"),
        pytest.param(leaf(SIGNER, end=NOW), [SIGNER], NOW + timedelta(seconds=1), id="the leaf has expired"),
        pytest.param(leaf(SIGNER, begin=NOW), [SIGNER], NOW - timedelta(seconds=1), id="the leaf begins later"),
        pytest.param(
            leaf(SIGNER, end=END + timedelta(days=9)), [SIGNER], END + timedelta(days=1), id="the root has expired"
        ),
    ],
)
def test_what_leads_to_no_trusted_root_is_refused(
    web: x509.Certificate, issuers: list[Pair], when: datetime
) -> None:
    """With one reason for all of them."""
    with pytest.raises(Unavailable) as caught:
        verify_path(web, [issuer.certificate for issuer in issuers], [ROOT.certificate], when)
    assert caught.value.reason == "untrusted_chain"


@pytest.mark.parametrize(
    "issuer",
    [
        pytest.param(issuer_with(), id="no basic constraints"),
        pytest.param(issuer_with(NOT_CA), id="CA false"),
        pytest.param(issuer_with(CA, (usage(signs=False), True)), id="may not sign certificates"),
    ],
)
def test_an_intermediate_must_be_a_ca(issuer: Pair) -> None:
    """A workload's key cannot issue for others."""
    with pytest.raises(Unavailable):
        verify_path(leaf(issuer), [issuer.certificate], [ROOT.certificate], NOW)
    assert not is_signer(issuer.certificate)


def test_key_usage_may_be_absent() -> None:
    """RFC 5280 section 4.2.1.3: absent means unrestricted."""
    issuer = issuer_with(CA)
    assert is_signer(issuer.certificate)
    assert len(verify_path(leaf(issuer), [issuer.certificate], [ROOT.certificate], NOW)) == 3


def test_pem_reads_back() -> None:
    """In the same order."""
    pair = [ROOT.certificate, SIGNER.certificate]
    assert x509.load_pem_x509_certificates(to_pem(pair).encode()) == pair


def test_the_fingerprint_is_sha256_of_the_der() -> None:
    """As 64 hexadecimal characters."""
    assert len(fingerprint(ROOT.certificate)) == 64
    assert fingerprint(ROOT.certificate) != fingerprint(OTHER.certificate)


_DER = bytearray(SIGNER.certificate.public_bytes(Encoding.DER))


# cryptography only warns of a serial that is not positive, for now.
@pytest.mark.filterwarnings("ignore:Parsed a serial number")
@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(_DER) - 1), st.integers(0, 255)), min_size=1, max_size=3))
def test_a_damaged_certificate_is_read_or_refused_by_name(changes: list[tuple[int, int]]) -> None:
    """UNREADABLE names everything that reading can raise."""
    damaged = bytearray(_DER)
    for place, value in changes:
        damaged[place] = value
    try:
        certificate_ = x509.load_der_x509_certificate(bytes(damaged))
        is_signer(certificate_)
        certificate_.public_key()
    except UNREADABLE:
        pass

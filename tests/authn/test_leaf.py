"""Tests of meshca.authn.leaf: rules X1-X7 of X509-SVID.md, each refusal its own row."""

from __future__ import annotations

import base64
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from meshca.authn.leaf import MAX_PEM_BYTES, read_leaf
from meshca.errors import Unauthenticated
from meshca.identity.spiffe_id import SpiffeId
from tests.fakes.callers import NOW
from tests.fakes.certificates import WEB, key_sha256, leaf

UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00")
GOOD = leaf()
DER = base64.b64decode(b"".join(GOOD.splitlines()[1:-1]))


def pem(der: bytes) -> bytes:
    """DER between a certificate's lines."""
    return b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(der) + b"-----END CERTIFICATE-----\n"


def reason(unverified: bytes) -> str:
    """Why a certificate is refused."""
    with pytest.raises(Unauthenticated) as caught:
        read_leaf(unverified)
    return caught.value.reason


ACCEPTED = {
    "our own": leaf(),
    "X1 with other names": leaf(others=[x509.DNSName("web.shop.svc")]),
    "X3 with a subject": leaf(subject="web", san_critical=False),
    "X6 with key encipherment": leaf(usage=["digital_signature", "key_encipherment", "key_agreement"]),
    "X7 without extended key usage": leaf(extended=None),
    "X7 with a third usage": leaf(
        extended=[
            ExtendedKeyUsageOID.SERVER_AUTH,
            ExtendedKeyUsageOID.CLIENT_AUTH,
            ExtendedKeyUsageOID.OCSP_SIGNING,
        ]
    ),
    "an unknown extension": leaf(extra=[(UNKNOWN, False)]),
    "text around it": b"subject=web\n" + leaf() + b"\n",
}


@pytest.mark.parametrize("certificate", ACCEPTED.values(), ids=ACCEPTED)
def test_a_leaf_by_the_profile_is_read(certificate: bytes) -> None:
    """What the standard allows is allowed."""
    assert read_leaf(certificate).identity == SpiffeId.parse(WEB)


def test_what_a_leaf_says() -> None:
    """Serial and key in our one spelling, validity with its zone."""
    found = read_leaf(leaf(serial=0x0ABC))
    assert found.key_sha256 == key_sha256()
    assert (found.serial, found.not_before, found.not_after) == (
        "abc",
        NOW - timedelta(minutes=2),
        NOW + timedelta(hours=24),
    )


REFUSED = {
    "X1 no URI": (leaf(uris=[], others=[x509.DNSName("web.shop.svc")]), "cert_profile"),
    "X1 two URIs": (leaf(uris=[WEB, "spiffe://cluster.local/ns/shop/sa/api"]), "cert_profile"),
    "X1 the same URI twice": (leaf(uris=[WEB, WEB]), "cert_profile"),
    "X1 a second URI of another scheme": (leaf(uris=[WEB, "https://example.org"]), "cert_profile"),
    "X1 no SAN": (leaf(san=False), "cert_profile"),
    "X2 no path": (leaf(uris=["spiffe://cluster.local"]), "cert_uri"),
    "X2 root path": (leaf(uris=["spiffe://cluster.local/"]), "cert_uri"),
    "X3 empty subject, SAN not critical": (leaf(san_critical=False), "cert_profile"),
    "X4 a CA": (leaf(ca=True), "cert_profile"),
    "X4 no basic constraints": (leaf(ca=None), "cert_profile"),
    "X5 key usage not critical": (leaf(usage_critical=False), "cert_profile"),
    "X5 no key usage": (leaf(usage=None), "cert_profile"),
    "X6 no digital signature": (leaf(usage=["key_encipherment"]), "cert_profile"),
    "X6 certificate signing": (leaf(usage=["digital_signature", "key_cert_sign"]), "cert_profile"),
    "X6 CRL signing": (leaf(usage=["digital_signature", "crl_sign"]), "cert_profile"),
    "X7 only server": (leaf(extended=[ExtendedKeyUsageOID.SERVER_AUTH]), "cert_profile"),
    "X7 only client": (leaf(extended=[ExtendedKeyUsageOID.CLIENT_AUTH]), "cert_profile"),
    "an unknown critical extension": (leaf(extra=[(UNKNOWN, True)]), "cert_profile"),
    "URI of another scheme": (leaf(uris=["https://cluster.local/ns/shop/sa/web"]), "cert_uri"),
    "URI in upper case": (leaf(uris=["spiffe://CLUSTER.LOCAL/ns/shop/sa/web"]), "cert_uri"),
    "URI with a newline": (leaf(uris=[WEB + "\n"]), "cert_uri"),
    "URI with a NUL": (leaf(uris=[WEB + "\0"]), "cert_uri"),
    "URI with percent-encoding": (leaf(uris=["spiffe://cluster.local/ns/shop/sa/w%65b"]), "cert_uri"),
    "URI with dots": (leaf(uris=["spiffe://cluster.local/ns/shop/../shop/sa/web"]), "cert_uri"),
    "empty": (b"", "cert_malformed"),
    "garbage": (b"not a certificate", "cert_malformed"),
    "another kind of PEM": (GOOD.replace(b"CERTIFICATE", b"PRIVATE KEY"), "cert_malformed"),
    "broken base64": (GOOD.replace(b"M", b"!", 1), "cert_malformed"),
    "truncated DER": (pem(DER[:-10]), "cert_malformed"),
    "two certificates": (GOOD + GOOD, "cert_malformed"),
    "too large": (b" " * MAX_PEM_BYTES + GOOD, "cert_malformed"),
    "a negative serial": (
        pem(DER.replace(b"\x02\x04\x7a\x31\xc5\xd9", b"\x02\x04\xfa\x31\xc5\xd9")),
        "cert_malformed",
    ),
    "serial zero": (pem(DER.replace(b"\x02\x04\x7a\x31\xc5\xd9", b"\x02\x04\x00\x31\xc5\xd9")), "cert_malformed"),
    "an impossible version": (
        pem(DER.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x09")),
        "cert_malformed",
    ),
    "a name of a kind that the library does not know": (
        pem(DER.replace(b"\x86" + bytes([len(WEB)]) + WEB.encode(), b"\xa3" + bytes([len(WEB)]) + WEB.encode())),
        "cert_malformed",
    ),
    "a duplicate extension": (
        pem(DER.replace(b"\x06\x03\x55\x1d\x25", b"\x06\x03\x55\x1d\x11")),
        "cert_malformed",
    ),
}


@pytest.mark.parametrize(("certificate", "expected"), REFUSED.values(), ids=REFUSED)
def test_what_breaks_a_rule_is_refused(certificate: bytes, expected: str) -> None:
    """Each breach has its reason, and none gets through as another exception."""
    assert reason(certificate) == expected


@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
def test_a_negative_serial_is_refused_where_warnings_are_none() -> None:
    """In production the library only warns; our own check refuses."""
    certificate = pem(DER.replace(b"\x02\x04\x7a\x31\xc5\xd9", b"\x02\x04\xfa\x31\xc5\xd9"))
    with pytest.raises(Unauthenticated, match="the serial number must be positive"):
        read_leaf(certificate)


@pytest.mark.parametrize(
    ("offset", "expected"),
    [
        (timedelta(minutes=-2), ""),
        (timedelta(0), ""),
        (timedelta(hours=24), ""),
        (timedelta(minutes=-2, seconds=-1), "cert_not_yet_valid"),
        (timedelta(hours=24, seconds=1), "cert_expired"),
    ],
    ids=["first instant", "now", "last instant", "before", "after"],
)
def test_validity_has_no_leeway(offset: timedelta, expected: str) -> None:
    """From NotBefore to NotAfter, both included (RFC 5280 section 4.1.2.5)."""
    found = read_leaf(GOOD)
    if expected:
        with pytest.raises(Unauthenticated) as caught:
            found.check_valid(NOW + offset)
        assert caught.value.reason == expected
    else:
        found.check_valid(NOW + offset)


def read_or_refuse(unverified: bytes) -> None:
    """Nothing but Unauthenticated may come out."""
    try:
        read_leaf(unverified)
    except Unauthenticated as error:
        assert error.reason.startswith("cert_")  # noqa: PT017 - reading it well is right too


@given(st.binary(max_size=400) | st.binary(max_size=400).map(pem))
def test_any_bytes_are_read_or_refused(unverified: bytes) -> None:
    """Whatever a client sends, the one error comes back."""
    read_or_refuse(unverified)


@given(
    st.lists(st.tuples(st.integers(0, len(DER) - 1), st.integers(0, 255)), min_size=1, max_size=4),
)
def test_any_mutation_is_read_or_refused(changes: list[tuple[int, int]]) -> None:
    """A certificate with some bytes changed raises nothing else either."""
    mutated = bytearray(DER)
    for place, value in changes:
        mutated[place] = value
    read_or_refuse(pem(bytes(mutated)))

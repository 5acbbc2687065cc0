"""Foreign certificates, read and judged."""

from __future__ import annotations

import ipaddress
from datetime import datetime, timedelta

import pytest
from cryptography import x509

from meshca.doctor.certificates import (
    fingerprint,
    fingerprints,
    instant,
    is_for,
    living,
    names_of,
    path_fault,
    read_der,
    read_pem,
    to_pem,
)
from tests.fakes.certificates import leaf as any_leaf
from tests.fakes.doctor import der, leaf
from tests.fakes.pki import NOW, make_ca

ROOT = make_ca("root")
OTHER = make_ca("other")
OLD = make_ca("old", end=NOW - timedelta(seconds=1))
DAY = timedelta(days=1)


def test_pem() -> None:
    """Whatever parses is read, text between and damage are passed over."""
    damaged = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
    assert read_pem(f"# ours\n{ROOT.pem}{damaged}{OTHER.pem}") == (ROOT.certificate, OTHER.certificate)
    assert read_pem("") == ()
    assert read_pem(to_pem((ROOT.certificate,))) == (ROOT.certificate,)


def test_der() -> None:
    """What does not parse is left out."""
    assert read_der((der(ROOT.certificate), b"garbage")) == (ROOT.certificate,)


def test_living() -> None:
    """Without those that have ended."""
    assert living((ROOT.certificate, OLD.certificate), NOW) == (ROOT.certificate,)


def test_fingerprints() -> None:
    """As sha256 over the DER."""
    assert fingerprints((ROOT.certificate,)) == {fingerprint(ROOT.certificate)}
    assert len(fingerprint(ROOT.certificate)) == 64


def test_instant() -> None:
    """In UTC, to the second."""
    assert instant(NOW) == "2026-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("meshca.istio-system.svc", True),
        ("MESHCA.istio-system.svc.", True),
        ("a.wild.example", True),
        ("b.a.wild.example", False),
        ("wild.example", False),
        ("10.0.0.1", True),
        ("10.0.0.2", False),
        ("other", False),
    ],
)
def test_names(host: str, expected: bool) -> None:  # noqa: FBT001 - a column of the table
    """Exact names, one star for one label, and addresses."""
    names = [
        x509.DNSName("meshca.istio-system.svc"),
        x509.DNSName("*.wild.example"),
        x509.IPAddress(ipaddress.ip_address("10.0.0.1")),
    ]
    certificate = x509.load_pem_x509_certificate(any_leaf(uris=(), others=names))
    assert is_for(certificate, host) is expected


def test_no_names() -> None:
    """Is for nobody."""
    assert names_of(leaf(ROOT)) == ()


@pytest.mark.parametrize(
    ("begin", "end", "fault"),
    [
        (NOW - DAY, NOW + DAY, ""),
        (NOW - 2 * DAY, NOW - DAY, "it ended at 2025-12-31T00:00:00Z"),
        (NOW + DAY, NOW + 2 * DAY, "it begins only at 2026-01-02T00:00:00Z"),
    ],
)
def test_times(begin: datetime, end: datetime, fault: str) -> None:
    """Before and after its life it is refused."""
    assert path_fault(leaf(ROOT, "a", begin=begin, end=end), (), (ROOT.certificate,), NOW) == fault


def test_path() -> None:
    """To one of the roots, through what is between."""
    between = make_ca("between", ROOT)
    certificate = leaf(between, "a")
    roots = (OTHER.certificate, ROOT.certificate)
    assert path_fault(certificate, (between.certificate,), roots, NOW) == ""
    assert path_fault(certificate, (), roots, NOW) == "it leads to no published root"
    assert path_fault(certificate, (between.certificate,), (OTHER.certificate,), NOW) != ""


def test_ended_issuer() -> None:
    """It is named."""
    assert path_fault(leaf(OLD, "a"), (), (OLD.certificate,), NOW).startswith("CN=old ended at")

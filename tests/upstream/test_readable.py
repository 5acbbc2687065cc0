"""What programs in Go refuse in a CA certificate, tried against their parser when this was written."""

from __future__ import annotations

import ipaddress

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID

from meshca.upstream.readable import unreadable
from meshca.upstream.sound_root import root_faults
from tests.fakes.pki import DAY, NOW, ec_key

KEY = ec_key()
KEY_ID = x509.SubjectKeyIdentifier.from_public_key(KEY.public_key())
ABOVE = x509.AuthorityKeyIdentifier.from_issuer_public_key(KEY.public_key())
WHERE = x509.AuthorityInformationAccess(
    [x509.AccessDescription(AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier("http://a/b"))]
)
UPN = x509.OtherName(x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3"), b"\x0c\x01a")
REGISTERED = x509.RegisteredID(x509.ObjectIdentifier("1.2.3"))


def ca(*extensions: tuple[x509.ExtensionType, bool]) -> x509.Certificate:
    """A root with these."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ca")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(KEY.public_key())
    builder = builder.serial_number(1 << 100).not_valid_before(NOW).not_valid_after(NOW + DAY)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(KEY, hashes.SHA256())


def constrained(name: x509.GeneralName, *, critical: bool = True) -> x509.Certificate:
    """A root with this name excluded."""
    return ca((x509.NameConstraints(None, [name]), critical))


@pytest.mark.parametrize("extension", [KEY_ID, ABOVE, WHERE], ids=["subject-key", "authority-key", "access"])
def test_never_critical(extension: x509.ExtensionType) -> None:
    """RFC 5280 says of each that it must not be, and others refuse it."""
    assert list(unreadable(ca((extension, False)))) == []
    [told] = unreadable(ca((extension, True)))
    assert told == f"its extension {extension.oid.dotted_string} is critical, which other programs refuse"


@pytest.mark.parametrize(
    "name",
    [
        *map(x509.DNSName, ("a..b", "corp.example.", "..b", ".", "a\nb", "a..b@c", "a@b")),
        *map(x509.RFC822Name, ("a..b", "a.", "a..b@c", ".a@c", "a,b@c", "a@.c", "a@c.")),
        x509.UniformResourceIdentifier("a..b"),
        x509.DirectoryName(x509.Name([x509.NameAttribute(NameOID.COUNTRY_NAME, "DE")])),
        UPN,
        REGISTERED,
    ],
    ids=repr,
)
def test_constraint_that_others_do_not_read(name: x509.GeneralName) -> None:
    """Its kind or its form."""
    [told] = unreadable(constrained(name))
    assert told.startswith("its constraint on names is of a kind, or in a form")


@pytest.mark.parametrize(
    "name",
    [
        *map(x509.DNSName, ("", "corp.example", ".corp.example", "a-b_c")),
        *map(x509.RFC822Name, ("corp.example", ".corp.example", "a.b+c@corp.example")),
        x509.UniformResourceIdentifier(".corp.example"),
        x509.IPAddress(ipaddress.ip_network("192.0.2.0/24")),
    ],
    ids=repr,
)
def test_constraint_that_others_read(name: x509.GeneralName) -> None:
    """It is left to the trial leaf whether ours is allowed by it."""
    assert list(unreadable(constrained(name))) == []


@pytest.mark.parametrize("name", [UPN, REGISTERED], ids=["upn", "registered"])
def test_constraint_that_may_be_passed_over(name: x509.GeneralName) -> None:
    """What is not critical others pass over, as they may."""
    assert list(unreadable(constrained(name, critical=False))) == []


def test_roots() -> None:
    """A root like that is none, from whichever upstream: a bundle with it would be read by nobody in Go."""
    [told] = root_faults([ca((KEY_ID, True))], [])
    assert told == "certificate 'CN=ca': its extension 2.5.29.14 is critical, which other programs refuse"

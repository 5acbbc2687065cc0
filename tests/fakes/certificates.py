"""Leaf certificates for tests of authentication: right by default, wrong in whatever way a test names."""

from __future__ import annotations

import functools
import hashlib
import ipaddress
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from meshca.authn.client_cert import Ancestor
from meshca.errors import Unauthenticated, Unavailable
from tests.fakes.callers import NOW

WEB = "spiffe://cluster.local/ns/shop/sa/web"
BOTH_USAGES = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)


@functools.cache
def signing_key() -> ec.EllipticCurvePrivateKey:
    """One key signs and is certified in every test: the chain is not what is tested."""
    return ec.generate_private_key(ec.SECP256R1())


def key_sha256(key: ec.EllipticCurvePrivateKey | None = None) -> str:
    """The fingerprint of a key; of the one that is certified in every test unless told."""
    public = (key or signing_key()).public_key()
    return hashlib.sha256(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def leaf(
    *,
    key: ec.EllipticCurvePrivateKey | None = None,
    uris: Sequence[str] = (WEB,),
    others: Sequence[x509.GeneralName] = (),
    san_critical: bool = True,
    san: bool = True,
    subject: str = "",
    serial: int = 0x7A31C5D9,
    begin: datetime = NOW - timedelta(minutes=2),
    end: datetime = NOW + timedelta(hours=24),
    ca: bool | None = False,
    usage: Sequence[str] | None = ("digital_signature",),
    usage_critical: bool = True,
    extended: Sequence[x509.ObjectIdentifier] | None = BOTH_USAGES,
    extra: Sequence[tuple[x509.ExtensionType, bool]] = (),
) -> bytes:
    """A certificate in PEM.

    Args:
        key: the key that is certified.
        uris: URI SANs.
        others: SANs of other kinds.
        san_critical: whether the SAN extension is critical.
        san: whether there is one at all.
        subject: common name; empty for an empty subject.
        serial: the serial number.
        begin: NotBefore.
        end: NotAfter.
        ca: basic constraints; None for no such extension.
        usage: key usage bits by cryptography's names; None for no such extension.
        usage_critical: whether key usage is critical.
        extended: extended key usages; None for no such extension.
        extra: further extensions.
    """
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)] if subject else [])
    builder = x509.CertificateBuilder(
        issuer_name=x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "signer")]),
        subject_name=name,
        public_key=(key or signing_key()).public_key(),
        serial_number=serial,
        not_valid_before=begin,
        not_valid_after=end,
    )
    extensions = list(extra)
    if san:
        names = [*(x509.UniformResourceIdentifier(uri) for uri in uris), *others]
        extensions.append((x509.SubjectAlternativeName(names), san_critical))
    if ca is not None:
        extensions.append((x509.BasicConstraints(ca=ca, path_length=None), True))
    if usage is not None:
        extensions.append((key_usage(usage), usage_critical))
    if extended is not None:
        extensions.append((x509.ExtendedKeyUsage(extended), False))
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(signing_key(), hashes.SHA256()).public_bytes(Encoding.PEM)


def key_usage(bits: Sequence[str]) -> x509.KeyUsage:
    """Key usage with these bits set, by cryptography's names."""
    known = (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
        "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
    )  # fmt: skip
    return x509.KeyUsage(**{bit: bit in bits for bit in known})


class FakeLineage:
    """Implements `meshca.authn.client_cert.Lineage` over a dict; `down` makes the store unreachable."""

    def __init__(self, ancestors: Mapping[str, Ancestor] | None = None) -> None:
        self.ancestors = dict(ancestors or {})
        self.down = False
        self.asked: list[str] = []

    async def of(self, serial: str) -> Ancestor:
        """The ancestor that the test put there."""
        self.asked.append(serial)
        if self.down:
            raise Unavailable("store", "the test's store is down")
        if serial not in self.ancestors:
            raise Unauthenticated("unknown_serial", "there is no record of issuing this serial")
        return self.ancestors[serial]


def serving_certificate(address: str) -> bytes:
    """A self-signed certificate for a TLS server at an IP address, valid by the machine's clock."""
    now = datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "server")])
    builder = x509.CertificateBuilder(
        issuer_name=name,
        subject_name=name,
        public_key=signing_key().public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=now - timedelta(hours=1),
        not_valid_after=now + timedelta(hours=1),
    )
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
    signed = builder.add_extension(names, critical=False).sign(signing_key(), hashes.SHA256())
    return signed.public_bytes(Encoding.PEM)

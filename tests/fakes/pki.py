"""CAs, keys and signing requests made in a moment: good ones by default, with the one fault that a test wants.

EC keys are made afresh; RSA keys are slow to make, so there is one for each size in a process.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

from meshca import csr
from meshca.admission.model import Grant
from meshca.authority.material import SigningMaterial
from meshca.authority.slot import Slot
from meshca.identity.key_type import KeyType
from meshca.identity.spiffe_id import SpiffeId, TrustDomain
from meshca.svid.signature import SigningKey, hash_for

NOW = datetime(2026, 1, 1, tzinfo=UTC)  # where FakeClock begins
DAY = timedelta(days=1)
TRUST_DOMAIN = TrustDomain("cluster.local")
WEB = SpiffeId.parse("spiffe://cluster.local/ns/shop/sa/web")
SIGNS_CERTIFICATES = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
SIGNS_DATA = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
# Of a CA below which no identity of a mesh verifies.
NARROW = x509.NameConstraints([x509.UniformResourceIdentifier("other.example")], None)


@functools.cache
def rsa_key(bits: int = 2048, exponent: int = 65537) -> rsa.RSAPrivateKey:
    """The one RSA key of this size."""
    return rsa.generate_private_key(exponent, bits)


def ec_key(curve: ec.EllipticCurve | None = None) -> ec.EllipticCurvePrivateKey:
    """A new EC key, P-256 unless told otherwise."""
    return ec.generate_private_key(curve or ec.SECP256R1())


@dataclass(frozen=True, slots=True)
class Ca:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: SigningKey

    @property
    def pem(self) -> str:
        """The certificate."""
        return self.certificate.public_bytes(Encoding.PEM).decode()

    @property
    def key_pem(self) -> str:
        """The key, PKCS#8."""
        return pem_of(self.key)


def pem_of(key: SigningKey | ed25519.Ed25519PrivateKey, password: bytes | None = None) -> str:
    """A private key as PKCS#8 PEM."""
    encryption = NoEncryption() if password is None else BestAvailableEncryption(password)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption).decode()


def make_ca(
    subject: str,
    issuer: Ca | None = None,
    *,
    key: SigningKey | None = None,
    begin: datetime = NOW - DAY,
    end: datetime = NOW + 3650 * DAY,
    constraints: x509.BasicConstraints | None = x509.BasicConstraints(ca=True, path_length=None),  # noqa: B008 - frozen
    usage: x509.KeyUsage | None = SIGNS_CERTIFICATES,
    purposes: Sequence[x509.ObjectIdentifier] = (),
    uri: str = "",
    key_id: bool = True,
    extra: Sequence[x509.ExtensionType] = (),
) -> Ca:
    """A root, or a CA certificate below an issuer."""
    key = key or ec_key()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer.certificate.subject if issuer else name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
    )
    extensions: list[tuple[x509.ExtensionType, bool]] = [(extension, False) for extension in extra]
    if constraints:
        extensions.append((constraints, True))
    if usage:
        extensions.append((usage, True))
    if purposes:
        extensions.append((x509.ExtendedKeyUsage(purposes), False))
    if uri:
        extensions.append((x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), False))
    if key_id:
        extensions.append((x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False))
    if issuer:
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key())
        extensions.append((identifier, False))
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    signing = issuer.key if issuer else key
    return Ca(builder.sign(signing, hash_for(signing)), key)


def material_of(signer: Ca, *above: Ca, roots: Sequence[Ca]) -> SigningMaterial:
    """Signing material, good or bad."""
    return SigningMaterial(
        certificate=signer.certificate,
        others=tuple(ca.certificate for ca in above),
        roots=tuple(ca.certificate for ca in roots),
        key=signer.key,
    )


def good_material(key: SigningKey | None = None, root: Ca | None = None) -> SigningMaterial:
    """A signing certificate of 30 days below a root."""
    root = root or make_ca("root")
    return material_of(make_ca("signer", root, key=key, end=NOW + 30 * DAY), roots=[root])


def good_slot(key: SigningKey | None = None) -> Slot:
    """A proven slot of that."""
    return Slot.prove(good_material(key), TRUST_DOMAIN, NOW)


def grant_of(
    identity: SpiffeId = WEB,
    max_lifetime: timedelta = 90 * DAY,
    key_types: frozenset[KeyType] = frozenset(KeyType),
) -> Grant:
    """What admission would have granted."""
    return Grant(identity=identity, max_lifetime=max_lifetime, key_types=key_types, rule="test")


def make_csr(
    key: SigningKey | None = None,
    names: Sequence[x509.GeneralName] = (),
    *,
    subject: Sequence[tuple[x509.ObjectIdentifier, str]] = (),
    extensions: Sequence[x509.ExtensionType] = (),
    digest: hashes.SHA256 | hashes.SHA384 | hashes.SHA512 | hashes.SHA224 | None = None,
) -> bytes:
    """A signing request, DER."""
    attributes = [x509.NameAttribute(oid, value) for oid, value in subject]
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(attributes))
    for extension in (*([x509.SubjectAlternativeName(names)] if names else []), *extensions):
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(key or ec_key(), digest or hashes.SHA256()).public_bytes(Encoding.DER)


def proven_key(key_type: KeyType = KeyType.EC_P256) -> csr.ProvenKey:
    """The public side of a new key; the one RSA key for RSA."""
    if key_type is KeyType.RSA:
        return csr.ours(rsa_key().public_key())
    return csr.fresh_key(key_type)[1]

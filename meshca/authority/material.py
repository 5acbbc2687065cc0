"""What an upstream gives us to sign with: certificates, roots and a key, read but not yet proven.

Reading checks only that each piece is what it says it is; `authority.slot` proves that the pieces fit.
A private key must never reach an error text.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from meshca.authority.keys import Referred
from meshca.errors import ConfigError
from meshca.secret import Secret
from meshca.svid.signature import SigningKey

OpenKey = Callable[[str], SigningKey]
# What the library raises while it parses; only the first is a ValueError.
_UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class WireMaterial:
    """Signing material as PEM, for a worker process; in place of a key that is elsewhere, what leads to it."""

    chain: str
    roots: str
    key: Secret[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningMaterial:
    """A signing certificate with its key, the certificates above it in any order, and the roots.

    Attributes:
        certificate: the signing certificate.
        others: what may stand between it and a root; roots among them are allowed.
        roots: all that clients shall trust, in the operator's order.
        key: the private key of the signing certificate.
    """

    certificate: x509.Certificate
    others: tuple[x509.Certificate, ...]
    roots: tuple[x509.Certificate, ...]
    key: SigningKey = field(repr=False)

    @property
    def root_set(self) -> frozenset[bytes]:
        """The roots as a set of DER, to compare with another's."""
        return frozenset(root.public_bytes(Encoding.DER) for root in self.roots)

    @property
    def fingerprint(self) -> str:
        """Lower-case hexadecimal SHA-256 over all certificates: equal for equal material."""
        digest = hashlib.sha256()
        for certificate in (self.certificate, *self.others, *self.roots):
            digest.update(certificate.public_bytes(Encoding.DER))
        return digest.hexdigest()

    def trusting(self, roots: str) -> SigningMaterial:
        """The same signer with the bundle in force, PEM, in place of its own roots.

        Raises:
            ConfigError: a root cannot be read.
        """
        return replace(self, roots=tuple(read_certificates(roots.encode(), "roots")))

    def to_wire(self) -> WireMaterial:
        """The material as PEM, signing certificate first."""
        chain, roots = to_pem(self.certificate, *self.others), to_pem(*self.roots)
        return WireMaterial(chain=chain, roots=roots, key=Secret(_key_text(self.key)))

    @classmethod
    def from_wire(cls, wire: WireMaterial, open_key: OpenKey | None = None) -> SigningMaterial:
        """Read what `to_wire` gave.

        Args:
            wire: that.
            open_key: follows what leads to a key that is not in it; None where no such key can be.

        Raises:
            ConfigError: a part of it cannot be read.
            Unavailable: the key is elsewhere, and cannot be reached now.
        """
        key = wire.key.reveal()
        elsewhere = None if key.startswith("-----BEGIN") else open_key
        certificate, *others = read_certificates(wire.chain.encode(), "signing chain")
        return cls(
            certificate=certificate,
            others=tuple(others),
            roots=tuple(read_certificates(wire.roots.encode(), "roots")),
            key=elsewhere(key) if elsewhere else read_key(key.encode(), "signing key"),
        )


def _key_text(key: SigningKey) -> str:
    if isinstance(key, Referred):
        return key.reference
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def to_pem(*certificates: x509.Certificate) -> str:
    """PEM of certificates, one after the other."""
    return "".join(certificate.public_bytes(Encoding.PEM).decode() for certificate in certificates)


def certificate_id(certificate: x509.Certificate) -> str:
    """What an authority is called: the lower-case hexadecimal SHA-256 of its certificate's DER."""
    return hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()


def same_key(one: str, other: str) -> bool:
    """Whether two certificates, PEM, are of one key."""
    first, second = (read_certificates(pem.encode(), "certificate")[0] for pem in (one, other))
    return first.public_key() == second.public_key()


def begins_at(pem: str) -> datetime:
    """When the first of some certificates begins."""
    return read_certificates(pem.encode(), "certificate")[0].not_valid_before_utc


def ends_at(pem: str) -> datetime:
    """When the first of some certificates ends."""
    return read_certificates(pem.encode(), "certificate")[0].not_valid_after_utc


def read_certificates(pem: bytes, source: str) -> list[x509.Certificate]:
    """One or more certificates, PEM, each parsed to its last extension.

    Raises:
        ConfigError: there is none, or one is damaged.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the library warns of oddities that verifiers accept
            certificates = x509.load_pem_x509_certificates(pem)
            for certificate in certificates:
                _ = certificate.extensions, certificate.public_key(), certificate.subject, certificate.issuer
    except _UNREADABLE:
        problem = "expected one or more certificates in PEM; check that the file is whole"
        raise ConfigError(source, [problem]) from None
    return certificates


def read_key(pem: bytes, source: str) -> SigningKey:
    """One private key, PEM: PKCS#8, PKCS#1 or SEC1, without a password.

    Raises:
        ConfigError: it is encrypted, damaged, or neither EC nor RSA.
    """
    try:
        key = load_pem_private_key(pem, None)
    except TypeError:  # what the library raises when a password is needed
        raise ConfigError(source, ["the private key is encrypted; give it without a password"]) from None
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigError(source, ["expected one private key in PEM (PKCS#8, PKCS#1 or SEC1)"]) from None
    if isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        return key
    raise ConfigError(source, ["the private key must be EC P-256, EC P-384 or RSA"])

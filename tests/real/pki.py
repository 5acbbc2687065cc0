"""A small PKI for real TLS peers in tests: a root, leaves with any URI names, and their form as Envoy secrets.

Independent of the rooms that issue for real, so that a test of Envoy does not depend on them.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret

_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """A certificate and its key, in PEM."""

    certificate: bytes
    key: bytes


@dataclass(frozen=True, slots=True)
class Pki:
    """A root certificate that signs leaves directly."""

    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    name: x509.Name = field(
        default_factory=lambda: x509.Name(
            [x509.NameAttribute(NameOID.COMMON_NAME, f"root {x509.random_serial_number()}")]
        )
    )

    def root(self) -> bytes:
        """The root certificate in PEM."""
        builder = _builder(self.name, self.name, self.key.public_key(), datetime.now(UTC) - _DAY, 10 * _DAY)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        return builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def leaf(
        self, *uris: str, dns: Sequence[str] = (), starts: datetime | None = None, lasts: timedelta = _DAY
    ) -> Leaf:
        """A leaf with these names."""
        key = ec.generate_private_key(ec.SECP256R1())
        begin = starts or datetime.now(UTC) - timedelta(minutes=2)
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri) for uri in uris]
        names += [x509.DNSName(item) for item in dns]
        builder = _builder(x509.Name([]), self.name, key.public_key(), begin, lasts)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=True)
        return Leaf(
            certificate=builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM),
            key=key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ),
        )

    def client(self, leaf: Leaf | None, folder: Path) -> ssl.SSLContext:
        """A TLS client that trusts the root and shows this leaf (none when None)."""
        context = ssl.create_default_context(cadata=self.root().decode())
        context.check_hostname = False  # a mesh peer is known by its URI name, which Python does not check
        if leaf is not None:
            pair = folder / f"client-{x509.random_serial_number():x}.pem"
            pair.write_bytes(leaf.key + leaf.certificate)
            context.load_cert_chain(pair)
            pair.unlink()
        return context


def certificate_secret(leaf: Leaf, name: str = "default") -> bytes:
    """An Envoy Secret with a certificate and key, serialized."""
    secret = Secret(name=name)
    secret.tls_certificate.certificate_chain.inline_bytes = leaf.certificate
    secret.tls_certificate.private_key.inline_bytes = leaf.key
    return bytes(secret.SerializeToString())


def roots_secret(roots: bytes, name: str = "ROOTCA") -> bytes:
    """An Envoy Secret with trusted roots, serialized."""
    secret = Secret(name=name)
    secret.validation_context.trusted_ca.inline_bytes = roots
    return bytes(secret.SerializeToString())


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, begin: datetime, lasts: timedelta
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder(issuer_name=issuer, subject_name=subject, public_key=key)
    builder = builder.serial_number(x509.random_serial_number())
    return builder.not_valid_before(begin).not_valid_after(begin + lasts)

"""A CA as istiod is one: its self-signed root, the Secret it writes, and leaves signed right below that root.

Follows security/pkg/pki of Istio (August 2026): GenCertKeyFromOptions and BuildSecret for the root, GenCertFromCSR
for leaves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.fakes.pki import rsa_key

TYPE = "istio.io/ca-root"
CERT_SIGN = x509.KeyUsage(False, False, False, False, False, True, False, False, False)
LEAF = x509.KeyUsage(True, False, True, False, False, False, False, False, False)


@dataclass(frozen=True, slots=True, kw_only=True)
class IstioCa:
    """A root and its key, as istiod holds them in memory."""

    certificate: x509.Certificate
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

    @classmethod
    def create(cls, now: datetime) -> IstioCa:
        """A root as istiod makes it: RSA, not back-dated, organization only, no names, no path length."""
        key = rsa_key()
        name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "cluster.local")])
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now)
            .not_valid_after(now + timedelta(days=3650))
            .add_extension(CERT_SIGN, critical=True)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )
        return cls(certificate=builder.sign(key, hashes.SHA256()), key=key)

    @classmethod
    def load(cls, contents: Mapping[str, bytes]) -> IstioCa:
        """What istiod takes from a Secret: two keys of it, the certificate being its own root."""
        certificate = x509.load_pem_x509_certificate(contents["ca-cert.pem"])
        key = load_pem_private_key(contents["ca-key.pem"], None)
        assert isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey)
        assert key.public_key() == certificate.public_key()
        certificate.verify_directly_issued_by(certificate)
        return cls(certificate=certificate, key=key)

    @property
    def contents(self) -> dict[str, bytes]:
        """What istiod writes into `istio-ca-secret`; keys are in the old formats of OpenSSL."""
        pem = self.certificate.public_bytes(Encoding.PEM)
        key = self.key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        made = {"ca-cert.pem": pem, "ca-key.pem": key, "root-cert.pem": pem}
        return {**made, "cert-chain.pem": b"", "key.pem": b""}

    def sign(self, public_key: ec.EllipticCurvePublicKey, spiffe_id: str, now: datetime) -> x509.Certificate:
        """A workload's certificate, right below the root."""
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(spiffe_id)])
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self.certificate.subject)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=2))
            .not_valid_after(now + timedelta(hours=24))
            .add_extension(LEAF, critical=True)
            .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(issuer, critical=False)
            .add_extension(names, critical=True)
            .sign(self.key, hashes.SHA256())
        )

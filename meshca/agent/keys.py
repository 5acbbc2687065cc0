"""The agent's own keys and the signing requests made with them.

Every certificate gets a new key. A private key lives in memory only, wrapped so that it cannot print
itself; this module must never write one anywhere.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from meshca.identity.spiffe_id import SpiffeId
from meshca.secret import Secret


class KeyChoice(enum.StrEnum):
    """The keys that the agent makes."""

    EC_P256 = "ec-p256"
    RSA_2048 = "rsa-2048"


@dataclass(frozen=True, slots=True, kw_only=True)
class FreshKey:
    """A key that no certificate uses yet.

    Attributes:
        private: PKCS#8 PEM, unencrypted.
        public: DER SubjectPublicKeyInfo.
        csr: PEM PKCS#10 request signed with the key.
    """

    private: Secret[str]
    public: bytes
    csr: str


def fresh_key(choice: KeyChoice, identity: SpiffeId | None) -> FreshKey:
    """Make a key and its signing request; RSA takes some 100 ms of one core.

    The request has an empty subject and, when the identity is known, that one critical URI SAN. The CA takes
    only the key from it; a strict CA compares the name.
    """
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
    if choice is KeyChoice.RSA_2048:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    else:
        key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    if identity is not None:
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(str(identity))])
        request = request.add_extension(names, critical=True)  # RFC 5280 section 4.2.1.6: the subject is empty
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return FreshKey(
        private=Secret(private.decode()),
        public=key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        csr=request.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode(),
    )

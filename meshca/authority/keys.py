"""The port of a key store: where the keys of our own CA certificates live.

A key is named by the subject key identifier of its certificate, so that a certificate leads to its key and
a key without a certificate is recognisably left over.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

from meshca import csr
from meshca.identity.key_type import KeyType
from meshca.svid.signature import SigningKey

CA_RSA_BITS = 3072  # 128 bits of security, as P-256 has (NIST SP 800-57 part 1, table 2)


@runtime_checkable
class Referred(Protocol):
    """A key that is not here: what leads to it goes from process to process in its place."""

    @property
    def reference(self) -> str:
        """Leads to it, and is no secret."""
        ...


class KeyStore(Protocol):
    """Makes, keeps and forgets signing keys."""

    def create(self, key_type: KeyType) -> SigningKey:
        """A new key by `new_key`, durable under its `key_id` when this returns.

        Raises:
            Unavailable: reason `key_store`, when it cannot be stored.
        """
        ...

    def load(self, key_id: str) -> SigningKey:
        """The key of this name.

        Raises:
            ConfigError: it is missing, damaged or readable by others.
        """
        ...

    def key_ids(self) -> frozenset[str]:
        """The names of all keys."""
        ...

    def keep_only(self, key_ids: frozenset[str]) -> None:
        """Forget every other key."""
        ...


def new_key(key_type: KeyType) -> SigningKey:
    """A new key for a CA certificate; RSA keys have 3072 bits."""
    return csr.generate(key_type, rsa_bits=CA_RSA_BITS)


def key_id(public_key: CertificatePublicKeyTypes) -> str:
    """The name of a key: its RFC 5280 subject key identifier (SHA-1), lower-case hexadecimal."""
    return x509.SubjectKeyIdentifier.from_public_key(public_key).digest.hex()

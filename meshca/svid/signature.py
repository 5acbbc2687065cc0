"""How a certificate is signed: which hash goes with which key, and throw-away keys of the same kind."""

from __future__ import annotations

import functools

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import SignatureAlgorithmOID

from meshca import csr
from meshca.identity.key_type import KeyType
from meshca.public_key import PublicKey

SigningKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def hash_for(key: SigningKey | PublicKey) -> hashes.SHA256 | hashes.SHA384:
    """SHA-384 for P-384 (the pair of RFC 5480 section 4), SHA-256 for all others."""
    is_p384 = isinstance(key, ec.EllipticCurvePrivateKey | ec.EllipticCurvePublicKey) and key.key_size == 384
    return hashes.SHA384() if is_p384 else hashes.SHA256()


def algorithm(key: PublicKey) -> x509.ObjectIdentifier:
    """The name of what `sign` gives with the private half of this key."""
    if isinstance(key, rsa.RSAPublicKey):
        return SignatureAlgorithmOID.RSA_WITH_SHA256
    is_p384 = isinstance(hash_for(key), hashes.SHA384)
    return SignatureAlgorithmOID.ECDSA_WITH_SHA384 if is_p384 else SignatureAlgorithmOID.ECDSA_WITH_SHA256


def sign(key: SigningKey, data: bytes) -> bytes:
    """A signature over the data: ECDSA, or RSA with PKCS #1 v1.5 padding."""
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(data, ec.ECDSA(hash_for(key)))
    return key.sign(data, padding.PKCS1v15(), hash_for(key))


def throw_away(like: PublicKey) -> SigningKey:
    """A key of the same kind whose signatures nobody trusts."""
    if isinstance(like, rsa.RSAPublicKey):
        return _rsa_throw_away()
    return ec.generate_private_key(like.curve)


@functools.cache
def _rsa_throw_away() -> SigningKey:
    return csr.generate(KeyType.RSA)  # once per process: making it takes about 100 ms

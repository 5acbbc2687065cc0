"""Signatures: the right hash for each key, verified by the library."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import SignatureAlgorithmOID as Oid

from meshca.svid import signature
from tests.fakes.pki import ec_key, make_ca, rsa_key

KEYS = [
    pytest.param(ec_key(), Oid.ECDSA_WITH_SHA256, id="p256"),
    pytest.param(ec_key(ec.SECP384R1()), Oid.ECDSA_WITH_SHA384, id="p384"),
    pytest.param(rsa_key(), Oid.RSA_WITH_SHA256, id="rsa"),
]


@pytest.mark.parametrize(("key", "oid"), KEYS)
def test_algorithm(key: signature.SigningKey, oid: object) -> None:
    """Each kind of key signs certificates with its own algorithm."""
    assert (
        make_ca("root", key=key).certificate.signature_algorithm_oid
        == oid
        == signature.algorithm(key.public_key())
    )


@pytest.mark.parametrize(("key", "oid"), KEYS)
def test_sign(key: signature.SigningKey, oid: object) -> None:
    """A signature over to-be-signed bytes verifies as the library verifies certificates."""
    root = make_ca("root", key=key).certificate
    value = signature.sign(key, root.tbs_certificate_bytes)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        key.public_key().verify(value, root.tbs_certificate_bytes, ec.ECDSA(signature.hash_for(key)))
    else:
        assert value == root.signature


@pytest.mark.parametrize(("key", "oid"), KEYS)
def test_throw_away(key: signature.SigningKey, oid: object) -> None:
    """A throw-away key signs with the same algorithm and is another key."""
    other = signature.throw_away(key.public_key())
    assert signature.algorithm(other.public_key()) == oid
    assert other.public_key() != key.public_key()

"""The agent's keys and signing requests."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key, load_pem_private_key

from meshca.agent.keys import FreshKey, KeyChoice, fresh_key
from meshca.identity.spiffe_id import SpiffeId

WEB = SpiffeId.parse("spiffe://cluster.local/ns/shop/sa/web")


def test_the_default_choice_is_p256() -> None:
    """On the curve secp256r1."""
    key = load_der_public_key(fresh_key(KeyChoice.EC_P256, None).public)
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert key.curve.name == "secp256r1"


def test_rsa_keys_have_2048_bits() -> None:
    """By choice."""
    key = load_der_public_key(fresh_key(KeyChoice.RSA_2048, None).public)
    assert isinstance(key, rsa.RSAPublicKey)
    assert key.key_size == 2048


def test_every_key_is_new() -> None:
    """No certificate shares its key with another."""
    assert fresh_key(KeyChoice.EC_P256, WEB).public != fresh_key(KeyChoice.EC_P256, WEB).public


@pytest.fixture(scope="module")
def key() -> FreshKey:
    """A key for a known identity."""
    return fresh_key(KeyChoice.EC_P256, WEB)


def test_the_request_proves_the_key(key: FreshKey) -> None:
    """Signed by the key it asks for."""
    request = x509.load_pem_x509_csr(key.csr.encode())
    assert request.is_signature_valid
    assert request.public_key() == load_der_public_key(key.public)


def test_the_request_names_only_the_own_identity(key: FreshKey) -> None:
    """An empty subject and one critical URI SAN."""
    request = x509.load_pem_x509_csr(key.csr.encode())
    names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert list(names.value) == [x509.UniformResourceIdentifier(str(WEB))]
    assert names.critical
    assert not list(request.subject)
    assert len(request.extensions) == 1


def test_the_request_names_nobody_when_the_identity_is_unknown() -> None:
    """The CA knows the name from the token."""
    request = x509.load_pem_x509_csr(fresh_key(KeyChoice.EC_P256, None).csr.encode())
    assert not list(request.extensions)


def test_the_private_key_belongs_to_the_public_one(key: FreshKey) -> None:
    """PKCS#8 PEM, as Envoy and most programs read it."""
    assert key.private.reveal().startswith("-----BEGIN PRIVATE KEY-----")
    private = load_pem_private_key(key.private.reveal().encode(), None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    assert private.public_key() == load_der_public_key(key.public)


def test_the_private_key_does_not_print_itself(key: FreshKey) -> None:
    """Not in a log line, not in a traceback."""
    assert "PRIVATE" not in repr(key)

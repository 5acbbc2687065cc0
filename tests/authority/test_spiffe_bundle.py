"""A bundle in SPIFFE's format, read back by other code than wrote it."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from jwt import PyJWK

from meshca.authority import spiffe_bundle as subject
from meshca.authority.spiffe_bundle import spiffe_bundle
from meshca.errors import InvariantBroken
from tests.fakes.pki import DAY, NOW, Ca, ec_key, make_ca, rsa_key

KEYS = [
    pytest.param(ec_key(), id="P-256"),
    pytest.param(ec_key(ec.SECP384R1()), id="P-384"),
    pytest.param(ec_key(ec.SECP521R1()), id="P-521"),
    pytest.param(rsa_key(), id="RSA"),
]


def read(*roots: Ca, sequence: int = 7) -> dict[str, Any]:
    """The document of a bundle."""
    document: dict[str, Any] = json.loads(spiffe_bundle(sequence, [root.pem for root in roots]))
    return document


@pytest.mark.parametrize("key", KEYS)
def test_a_root_is_a_key_for_x509_svids(key: Any) -> None:
    """With its one certificate in plain base64 of DER and its public key, without a `kid` (rules B5 and B6)."""
    root = make_ca("root", key=key)
    (found,) = read(root)["keys"]
    assert found["use"] == "x509-svid"
    assert "kid" not in found
    (encoded,) = found["x5c"]
    assert base64.b64decode(encoded, validate=True) == root.certificate.public_bytes(Encoding.DER)
    assert PyJWK(found, algorithm="RS256" if found["kty"] == "RSA" else None).key == key.public_key()


def test_sequence_and_hint_are_numbers() -> None:
    """Rules B2 and B3."""
    found = read(make_ca("root"), sequence=2**40)
    assert (found["spiffe_sequence"], found["spiffe_refresh_hint"]) == (2**40, 300)


def test_roots_keep_their_order() -> None:
    """One element for each."""
    roots = [make_ca(f"root {number}") for number in range(3)]
    found = [x509.load_der_x509_certificate(base64.b64decode(one["x5c"][0])) for one in read(*roots)["keys"]]
    assert found == [root.certificate for root in roots]


def test_no_root_revokes_everything() -> None:
    """`keys` is there and empty (rule B4)."""
    assert read()["keys"] == []


def test_a_small_coordinate_keeps_its_size() -> None:
    """RFC 7518 section 6.2.1.2: as many octets as the curve has."""
    assert subject._octets(1, 32) == base64.urlsafe_b64encode(bytes(31) + b"\x01").rstrip(b"=").decode()


def test_a_key_without_a_form_is_refused() -> None:
    """Leaving it out would revoke it."""
    key, name = ed25519.Ed25519PrivateKey.generate(), x509.Name([])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, NOW, NOW + DAY)
    pem = builder.sign(key, None).public_bytes(Encoding.PEM).decode()
    with pytest.raises(InvariantBroken, match="Ed25519PublicKey"):
        spiffe_bundle(1, [pem])

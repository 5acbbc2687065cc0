"""Tests of meshca.authn.keys."""

from __future__ import annotations

import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import RSAAlgorithm, get_default_algorithms

from meshca.authn.keys import MAX_KEYS, SUPPORTED, Key, read_keys
from meshca.config.authn import JwksConfig
from meshca.errors import Unauthenticated, Unavailable
from tests.fakes.tokens import ec_key, key_set, public_jwk, rsa_key

RSA_JWK = public_jwk(rsa_key(), kid="r")
EC_JWK = public_jwk(ec_key(), kid="e")
MESSAGE = b"header.payload"


def only(entry: dict[str, Any]) -> Key:
    """The key of a set that holds one."""
    key = read_keys(key_set(entry)).find(None)
    assert key is not None
    return key


def test_the_supported_algorithms() -> None:
    """No HS*, no none, no EdDSA; every one that a configuration may name, and no other."""
    assert sorted(SUPPORTED) == sorted(
        ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"]
    )
    for name in SUPPORTED:
        tree = {"issuer": "a", "algorithms": [name], "keys": {"url": "https://a"}}
        assert JwksConfig.model_validate(tree).algorithms == (name,)


@pytest.mark.parametrize(
    ("entry", "algorithms"),
    [
        (RSA_JWK, {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}),
        ({**RSA_JWK, "alg": "RS256"}, {"RS256"}),
        ({**RSA_JWK, "use": "sig"}, {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}),
        ({**RSA_JWK, "alg": "PS256", "key_ops": ["verify"]}, {"PS256"}),
        (EC_JWK, {"ES256"}),
        (public_jwk(ec_key(0, ec.SECP384R1)), {"ES384"}),
        (public_jwk(ec_key(0, ec.SECP521R1)), {"ES512"}),
        (public_jwk(rsa_key(0, 4096)), {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}),
    ],
    ids=["RSA", "RSA alg", "RSA use", "RSA key_ops", "P-256", "P-384", "P-521", "RSA 4096"],
)
def test_what_a_key_fits(entry: dict[str, Any], algorithms: set[str]) -> None:
    """A key verifies what its kind allows, less what it says that it is not for."""
    assert only(entry).algorithms == algorithms


@pytest.mark.parametrize("algorithm", sorted(SUPPORTED))
def test_each_algorithm_verifies(algorithm: str) -> None:
    """A signature by the key is accepted, one of another message, key or algorithm is not."""
    curve = {"ES256": ec.SECP256R1, "ES384": ec.SECP384R1, "ES512": ec.SECP521R1}.get(algorithm)
    private: Any = ec_key(0, curve) if curve else rsa_key()
    other: Any = ec_key(1, curve) if curve else rsa_key(1)
    signer = get_default_algorithms()[algorithm]
    key = only(public_jwk(private))
    key.verify(algorithm, MESSAGE, signer.sign(MESSAGE, private))
    for message, signature in (
        (b"another", signer.sign(MESSAGE, private)),
        (MESSAGE, signer.sign(MESSAGE, other)),
        (MESSAGE, b""),
        (MESSAGE, signer.sign(MESSAGE, private)[:-1]),
        (MESSAGE, signer.sign(MESSAGE, private) + b"\0"),
    ):
        with pytest.raises(Unauthenticated) as caught:
            key.verify(algorithm, message, signature)
        assert caught.value.reason == "token_signature"


@pytest.mark.parametrize(
    ("entry", "algorithm"),
    [
        (RSA_JWK, "ES256"),
        (EC_JWK, "RS256"),
        (EC_JWK, "ES384"),
        ({**RSA_JWK, "alg": "RS256"}, "RS512"),
        (RSA_JWK, "HS256"),
        (RSA_JWK, "none"),
    ],
    ids=["EC by RSA", "RSA by EC", "another curve", "not what it is for", "HS256 with the public key", "none"],
)
def test_a_key_verifies_only_what_it_fits(entry: dict[str, Any], algorithm: str) -> None:
    """The token does not choose how a key is used."""
    with pytest.raises(Unauthenticated) as caught:
        only(entry).verify(algorithm, MESSAGE, b"signature")
    assert caught.value.reason == "token_algorithm"


SKIPPED: dict[str, object] = {
    "no object": "key",
    "no kty": {"kid": "a"},
    "kty a list": {**RSA_JWK, "kty": ["RSA"]},
    "symmetric": {"kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0", "kid": "a"},
    "symmetric, alg HS256": {"kty": "oct", "k": "c2VjcmV0", "alg": "HS256"},
    "EdDSA": {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
    "secp256k1": {**EC_JWK, "crv": "secp256k1"},
    "for encryption": {**RSA_JWK, "use": "enc"},
    "for signing only": {**RSA_JWK, "key_ops": ["sign"]},
    "key_ops text": {**RSA_JWK, "key_ops": "verify"},
    "use null": {**RSA_JWK, "use": None},
    "RSA with alg ES256": {**RSA_JWK, "alg": "ES256"},
    "RSA with alg HS256": {**RSA_JWK, "alg": "HS256"},
    "RSA with alg none": {**RSA_JWK, "alg": "none"},
    "RSA with alg a list": {**RSA_JWK, "alg": ["RS256"]},
    "RSA 1024": public_jwk(rsa_key(0, 1024)),
    "RSA enormous": {**RSA_JWK, "n": "A" * 100_000},
    "RSA no n": {"kty": "RSA", "e": "AQAB"},
    "RSA n a number": {**RSA_JWK, "n": 7},
    "RSA n no base64": {**RSA_JWK, "n": "ä"},
    "RSA e 1": {**RSA_JWK, "e": "AQ"},
    "RSA e even": {**RSA_JWK, "e": "BA"},
    "EC no y": {"kty": "EC", "crv": "P-256", "x": EC_JWK["x"]},
    "EC not on the curve": {**EC_JWK, "x": EC_JWK["y"]},
    "EC short": {**EC_JWK, "x": "AA"},
    "EC another curve's size": {**EC_JWK, "crv": "P-384"},
    "EC crv a list": {**EC_JWK, "crv": ["P-256"]},
}


@pytest.mark.parametrize("entry", SKIPPED.values(), ids=SKIPPED)
def test_a_key_that_can_not_be_used_is_skipped(entry: object) -> None:
    """One bad key does not spoil the set."""
    keys = read_keys(json.dumps({"keys": [entry, EC_JWK]}).encode())
    assert (list(keys.by_id), keys.unnamed, keys.skipped) == (["e"], (), 1)


@pytest.mark.parametrize("entry", SKIPPED.values(), ids=SKIPPED)
def test_a_set_of_nothing_usable_is_a_mistake(entry: object) -> None:
    """It must not replace good keys."""
    with pytest.raises(Unavailable, match="none of the 1 keys"):
        read_keys(json.dumps({"keys": [entry]}).encode())


def test_an_empty_set_withdraws_every_key() -> None:
    """An empty list is a statement, not a mistake (SPIFFE bundle rule B4)."""
    keys = read_keys(b'{"keys": []}')
    assert (keys.by_id, keys.unnamed, keys.skipped) == ({}, (), 0)


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"keys": {}}',
        b'{"keys": null}',
        b"null",
        b"\xff",
        key_set(*[EC_JWK] * (MAX_KEYS + 1)),
    ],
    ids=["empty", "broken", "list", "no keys", "object", "null", "nothing", "binary", "too many"],
)
def test_what_is_no_key_set(document: bytes) -> None:
    """Whatever else a server answers is no key set."""
    with pytest.raises(Unavailable) as caught:
        read_keys(document)
    assert caught.value.reason == "issuer_keys"


def test_a_key_is_found_by_its_id() -> None:
    """The header's kid chooses among several."""
    keys = read_keys(key_set(RSA_JWK, EC_JWK, public_jwk(ec_key(1))))
    assert keys.find("e") is keys.by_id["e"]
    assert keys.find("x") is None
    assert keys.find(None) is None


@pytest.mark.parametrize("entry", [EC_JWK, public_jwk(ec_key())], ids=["named", "unnamed"])
def test_without_an_id_there_must_be_one_key(entry: dict[str, Any]) -> None:
    """JWT-SVID rule J3: kid is optional; then the key must be beyond doubt."""
    assert read_keys(key_set(entry)).find(None) is not None


def test_the_first_of_two_keys_with_one_id() -> None:
    """A second key can not take over an id."""
    keys = read_keys(key_set({**EC_JWK, "kid": "a"}, {**RSA_JWK, "kid": "a"}))
    assert keys.by_id["a"].algorithms == {"ES256"}


def test_an_id_that_is_no_text_is_none() -> None:
    """Such a key can only be the only one."""
    keys = read_keys(key_set({**EC_JWK, "kid": 7}))
    assert (keys.by_id, len(keys.unnamed)) == ({}, 1)


def test_a_private_key_is_used_as_a_public_one() -> None:
    """A set that leaks a private key still verifies, and we do not hold the private half."""
    private = RSAAlgorithm.to_jwk(rsa_key(), as_dict=True)
    private.pop("key_ops")
    assert not hasattr(only(private).public_key, "sign")


VALUES = (
    st.none() | st.booleans() | st.integers() | st.text(max_size=12) | st.lists(st.text(max_size=4), max_size=2)
)
MEMBERS = st.sampled_from(["kty", "kid", "use", "alg", "key_ops", "n", "e", "crv", "x", "y", "d"])
ENTRIES = st.builds(
    lambda base, changes: {**base, **changes},
    st.sampled_from([RSA_JWK, EC_JWK, {}]),
    st.dictionaries(MEMBERS, VALUES | st.sampled_from(["RSA", "EC", "P-256", "RS256", "AQAB"]), max_size=4),
)


@given(st.binary(max_size=50) | st.lists(ENTRIES, max_size=3).map(lambda e: json.dumps({"keys": e}).encode()))
def test_any_document_is_a_key_set_or_refused(document: bytes) -> None:
    """Whatever an issuer serves, usable keys or the one error come of it."""
    try:
        keys = read_keys(document)
    except Unavailable:
        return
    for key in (*keys.by_id.values(), *keys.unnamed):
        assert key.algorithms <= SUPPORTED


def test_the_library_has_every_algorithm() -> None:
    """A PyJWT without cryptography would silently lack them."""
    assert set(get_default_algorithms()) >= SUPPORTED
    assert jwt.__version__

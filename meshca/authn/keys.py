"""An issuer's public keys, from a JWK Set (RFC 7517), each parsed once.

Only keys that can verify one of the algorithms below are kept: no symmetric keys, no keys for encryption, no
short ones. One unusable key does not spoil the set. A private key that was published by mistake is used as
its public half only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import get_default_algorithms

from meshca.errors import Unauthenticated, Unavailable

# What a key of each kind can verify; also the whole list of algorithms that are ever accepted (JWT-SVID.md J2).
_RSA: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_CURVES: Final = {"P-256": ("ES256",), "P-384": ("ES384",), "P-521": ("ES512",)}
_MEMBERS: Final = {"RSA": ("kty", "n", "e"), "EC": ("kty", "crv", "x", "y")}
SUPPORTED: Final = frozenset(_RSA).union(*_CURVES.values())
_VERIFIERS: Final = {name: algorithm for name, algorithm in get_default_algorithms().items() if name in SUPPORTED}
MIN_RSA_BITS: Final = 2048  # RFC 7518 section 3.3
MAX_RSA_BITS: Final = 8192  # a verification with more keeps a core busy for an attacker's benefit
MAX_KEYS: Final = 100
_MAX_MEMBER_CHARS: Final = MAX_RSA_BITS // 6 + 8  # base64url of the largest modulus


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One public key and the algorithms that it fits."""

    key_id: str | None
    algorithms: frozenset[str]
    public_key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey

    def verify(self, algorithm: str, signing_input: bytes, signature: bytes) -> None:
        """Check a signature.

        Raises:
            Unauthenticated: reason `token_algorithm` when the key does not fit, `token_signature` when the
                signature is not by this key.
        """
        if algorithm not in self.algorithms:
            raise Unauthenticated("token_algorithm", f"the key verifies {', '.join(sorted(self.algorithms))} only")
        if not _VERIFIERS[algorithm].verify(signing_input, self.public_key, signature):
            raise Unauthenticated("token_signature", "the signature is not by the key that the token names")


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """The usable keys of an issuer.

    Attributes:
        by_id: key id and key; the first of several with one id.
        unnamed: keys without an id.
        skipped: how many keys of the set can not be used.
    """

    by_id: Mapping[str, Key]
    unnamed: tuple[Key, ...]
    skipped: int

    def find(self, key_id: str | None) -> Key | None:
        """The key that a header names; without an id the only key there is, None when there are several."""
        if key_id is not None:
            return self.by_id.get(key_id)
        everything = (*self.by_id.values(), *self.unnamed)
        return everything[0] if len(everything) == 1 else None


def read_keys(document: bytes) -> Keys:
    """The keys of a JWK Set.

    An empty list is taken at its word: every key is withdrawn. A list without one usable key is a mistake.

    Raises:
        Unavailable: reason `issuer_keys`, when the document is not a JWK Set or none of its keys can be used.
    """
    try:
        tree = orjson.loads(document)
    except orjson.JSONDecodeError:
        raise Unavailable("issuer_keys", "the JWK Set is not JSON") from None
    entries = tree.get("keys") if isinstance(tree, dict) else None
    if not isinstance(entries, list) or len(entries) > MAX_KEYS:
        raise Unavailable("issuer_keys", f"expected an object with a list `keys` of at most {MAX_KEYS}")
    found = [key for key in map(_key, entries) if key is not None]
    if entries and not found:
        raise Unavailable("issuer_keys", f"none of the {len(entries)} keys can verify a supported algorithm")
    return Keys(
        by_id={key.key_id: key for key in reversed(found) if key.key_id is not None},
        unnamed=tuple(key for key in found if key.key_id is None),
        skipped=len(entries) - len(found),
    )


def _key(entry: object) -> Key | None:
    """A key of the set, None when it is not for us."""
    if not isinstance(entry, dict):
        return None
    algorithms = _algorithms(entry)
    members = _MEMBERS.get(str(entry.get("kty")), ())
    public = {name: entry.get(name) for name in members}
    if not algorithms or not all(isinstance(v, str) and len(v) <= _MAX_MEMBER_CHARS for v in public.values()):
        return None
    try:
        key = jwt.PyJWK(public, min(algorithms)).key
    except jwt.PyJWTError:
        return None
    if isinstance(key, rsa.RSAPublicKey) and not MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
        return None
    return Key(key_id=_text(entry.get("kid")), algorithms=algorithms, public_key=key)


def _algorithms(entry: Mapping[str, Any]) -> frozenset[str]:
    """What a key says that it is for, as far as its kind allows."""
    operations = entry.get("key_ops", ["verify"])
    if entry.get("use", "sig") != "sig" or not isinstance(operations, list) or "verify" not in operations:
        return frozenset()
    kind = entry.get("kty")
    fitting = _RSA if kind == "RSA" else _CURVES.get(str(entry.get("crv")), ()) if kind == "EC" else ()
    named = entry.get("alg")
    return frozenset(fitting) if named is None else frozenset(fitting) & {str(named)}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None

"""An issuer of tokens for tests: signs what it is told to, right or wrong, and serves its keys from memory."""

from __future__ import annotations

import base64
import functools
import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from meshca.authn.jwks import JwksAuthenticator, TrustedIssuer
from meshca.authn.keyset import KeySet
from meshca.clock import Clock
from meshca.config.authn import JwksConfig, KeysConfig
from meshca.errors import Unavailable
from meshca.identity.caller import Credential
from meshca.secret import Secret

ISSUER = "https://kubernetes.default.svc.cluster.local"
LABELS_CLAIM = "meshca.dev/labels"
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


@functools.cache
def rsa_key(number: int = 0, bits: int = 2048) -> rsa.RSAPrivateKey:
    """The same key for the same number, since making one takes long."""
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


@functools.cache
def ec_key(number: int = 0, curve: type[ec.EllipticCurve] = ec.SECP256R1) -> ec.EllipticCurvePrivateKey:
    """The same key for the same number."""
    return ec.generate_private_key(curve())


def public_jwk(key: PrivateKey, **members: object) -> dict[str, Any]:
    """The JWK of a key's public half, with these members beside."""
    public = key.public_key()
    jwk = (
        RSAAlgorithm.to_jwk(public, as_dict=True)
        if isinstance(public, rsa.RSAPublicKey)
        else ECAlgorithm.to_jwk(public, as_dict=True)
    )
    jwk.pop("key_ops", None)
    return {**jwk, **members}


def key_set(*keys: Mapping[str, Any]) -> bytes:
    """A JWK Set document."""
    return json.dumps({"keys": list(keys)}).encode()


def encoded(value: object) -> str:
    """One segment of a token: JSON, or raw bytes, in base64url."""
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def assembled(header: object, claims: object, signature: bytes = b"signature") -> str:
    """A token of any parts, signed by nobody."""
    return f"{encoded(header)}.{encoded(claims)}.{encoded(signature)}"


def bearing(token: str) -> Credential:
    """A credential with a token."""
    return Credential(unverified_token=Secret(token))


class MemorySource:
    """A `KeySource` that gives what the test put there, and counts."""

    def __init__(self, document: bytes | None = None) -> None:
        self.document = document
        self.fetches = 0

    async def fetch(self) -> bytes:
        """The document, or the failure when there is none."""
        self.fetches += 1
        if self.document is None:
            raise Unavailable("issuer_keys", "the test's source is down")
        return self.document


class FakeIssuer:
    """One issuer with one current key."""

    def __init__(
        self,
        clock: Clock,
        *,
        key: PrivateKey | None = None,
        kid: str = "k1",
        name: str = "home",
        issuer: str = ISSUER,
    ) -> None:
        self.clock = clock
        self.key = key or ec_key()
        self.kid = kid
        self.algorithm = "RS256" if isinstance(self.key, rsa.RSAPrivateKey) else "ES256"
        self.name = name
        self.issuer = issuer
        self.document = key_set(public_jwk(self.key, kid=kid, use="sig", alg=self.algorithm))
        self.source = MemorySource(self.document)

    def claims(self, namespace: str = "shop", name: str = "web", **changes: object) -> dict[str, Any]:
        """Claims as Kubernetes lays them out; a change to None takes a claim away."""
        now = int(self.clock.now().timestamp())
        claims: dict[str, Any] = {
            "aud": ["istio-ca"],
            "exp": now + 3600,
            "iat": now,
            "iss": self.issuer,
            "jti": "0d8c1c5e-6f9d-4a37-b6f3-2f4b8a3f1c11",
            "kubernetes.io": {
                "namespace": namespace,
                "node": {"name": "node-1", "uid": "0f9d8c7b"},
                "pod": {"name": "web-7d4b9-x2x1z", "uid": "6d2a3f0e"},
                "serviceaccount": {"name": name, "uid": "11111111"},
            },
            "nbf": now,
            "sub": f"system:serviceaccount:{namespace}:{name}",
        }
        claims.update(changes)
        return {key: value for key, value in claims.items() if value is not None}

    def sign(self, claims: Mapping[str, Any], *, key: PrivateKey | None = None, **header: object) -> str:
        """A token with these claims; `header` changes or adds header members."""
        headers = {"kid": self.kid, "typ": "", **header}
        algorithm = str(headers.pop("alg", self.algorithm))
        payload = json.dumps(dict(claims)).encode()  # the signature's layer: jwt.encode would look at the claims
        return jwt.PyJWS().encode(payload, key or self.key, algorithm, headers=headers)

    def token(self, **changes: Any) -> str:
        """A good token, with some claims changed."""
        return self.sign(self.claims(**changes))

    def trusted(self, **config: Any) -> TrustedIssuer:
        """The issuer as an authenticator trusts it."""
        settings: dict[str, Any] = {
            "name": self.name,
            "issuer": self.issuer,
            "algorithms": (self.algorithm,),
            "keys": KeysConfig(url="https://issuer.test/keys"),
        }
        keys = KeySet(
            self.name, self.source, self.clock, refresh=timedelta(minutes=5), refetch=timedelta(seconds=30)
        )
        return TrustedIssuer.of(JwksConfig(**{**settings, **config}), keys)

    def authenticator(self, **config: Any) -> JwksAuthenticator:
        """An authenticator that trusts this issuer only."""
        return JwksAuthenticator([self.trusted(**config)], self.clock)

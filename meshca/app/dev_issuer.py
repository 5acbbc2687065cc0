"""The issuer of tokens for experiments: what Kubernetes' API server is to a cluster.

Its tokens have Kubernetes' claim layout and are checked by the same jwks authenticator as a cluster's. Only
`meshca dev` and `meshca demo` make one; a server never does on its own. Whoever reads its key file can be
every workload of the mesh that trusts it, so that file is 0600 and the mesh is not for production.
"""

from __future__ import annotations

import base64
import hashlib
import json
import uuid
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, Literal, TypeGuard

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from meshca import durable
from meshca.clock import Clock
from meshca.config.authn import JwksConfig, KeysConfig
from meshca.errors import ConfigError
from meshca.identity.service_account import ServiceAccount
from meshca.secret import Secret

ISSUER: Final = "https://issuer.dev.meshca.invalid"  # RFC 6761: .invalid is nobody's
AUDIENCE: Final = "istio-ca"
LABELS_CLAIM: Final = "meshca.dev/labels"
NODE: Final = "dev-node"
KEY_FILE: Final = "issuer-key.pem"
KEY_SET_FILE: Final = "jwks.json"
Algorithm = Literal["ES256", "RS256"]
_PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def _random_id() -> str:
    return str(uuid.uuid4())


class DevIssuer:
    """Signs tokens with a key of its own, whose public half is in a JWK Set file."""

    def __init__(
        self, directory: Path, key: _PrivateKey, clock: Clock, *, new_id: Callable[[], str] = _random_id
    ) -> None:
        self._directory = directory
        self._key = key
        self._clock = clock
        self._new_id = new_id
        self._algorithm: Algorithm = "ES256" if isinstance(key, ec.EllipticCurvePrivateKey) else "RS256"
        spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        # As Kubernetes makes key ids: pkg/serviceaccount/jwt.go keyIDFromPublicKey.
        self._key_id = base64.urlsafe_b64encode(hashlib.sha256(spki).digest()).rstrip(b"=").decode()

    @classmethod
    def create(cls, directory: Path, clock: Clock, *, algorithm: Algorithm = "ES256") -> DevIssuer:
        """A new issuer, or the one that the directory already holds, whose key set file is there.

        Raises:
            ConfigError: when the directory holds a key that can not be used.
        """
        if (directory / KEY_FILE).exists():
            return cls.open(directory, clock)
        durable.make_folder(directory)
        key: _PrivateKey = (
            ec.generate_private_key(ec.SECP256R1())
            if algorithm == "ES256"
            else rsa.generate_private_key(public_exponent=65537, key_size=2048)
        )
        issuer = cls(directory, key, clock)
        durable.replace(directory / KEY_SET_FILE, json.dumps(issuer.key_set(), indent=2).encode())
        durable.replace(directory / KEY_FILE, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return issuer

    @classmethod
    def open(cls, directory: Path, clock: Clock) -> DevIssuer:
        """The issuer that a directory holds.

        Raises:
            ConfigError: when there is none, others can read its key, or the key can not be used.
        """
        path = directory / KEY_FILE
        if not path.exists():
            raise ConfigError(str(path), [f"does not exist; start `meshca dev up --dir {directory}` first"])
        pem = durable.read_private(path)
        try:
            key = load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):  # TypeError: a key with a password
            raise ConfigError(str(path), ["is not a private key in PEM; remove it to start anew"]) from None
        if not isinstance(key, rsa.RSAPrivateKey) and not _is_p256(key):
            raise ConfigError(str(path), ["expected a P-256 or RSA key; remove it to start anew"])
        return cls(directory, key, clock)

    def config(self) -> JwksConfig:
        """The configuration by which a server trusts this issuer, labels included."""
        return JwksConfig(
            issuer=ISSUER,
            audiences=(AUDIENCE,),
            algorithms=(self._algorithm,),
            keys=KeysConfig(file=self._directory / KEY_SET_FILE),
            labels_claim=LABELS_CLAIM,
        )

    def key_set(self) -> dict[str, Any]:
        """The JWK Set with the public key."""
        public = self._key.public_key()
        jwk = (
            ECAlgorithm.to_jwk(public, as_dict=True)
            if isinstance(public, ec.EllipticCurvePublicKey)
            else RSAAlgorithm.to_jwk(public, as_dict=True)
        )
        jwk.pop("key_ops", None)
        return {"keys": [{**jwk, "kid": self._key_id, "use": "sig", "alg": self._algorithm}]}

    def mint(
        self,
        account: ServiceAccount,
        *,
        pod: str | None,
        audience: str = AUDIENCE,
        expires_in: timedelta = timedelta(minutes=10),
        labels: Mapping[str, str] | None = None,
    ) -> Secret[str]:
        """A token for a service account.

        Args:
            account: whom it is for.
            pod: name of the pod that it is bound to; None for a token that is bound to none.
            audience: who may accept it.
            expires_in: its life; a negative one makes a token that has expired.
            labels: the pod's labels, signed along.
        """
        now = int(self._clock.now().timestamp())
        claims = {
            "aud": [audience],
            "exp": now + int(expires_in.total_seconds()),
            "iat": now,
            "iss": ISSUER,
            "jti": self._new_id(),
            "kubernetes.io": _binding(account, pod),
            "nbf": now,
            "sub": f"system:serviceaccount:{account.namespace}:{account.name}",
        }
        if labels:
            claims[LABELS_CLAIM] = dict(labels)
        # Kubernetes sends no typ; PyJWT leaves out an empty one.
        return Secret(jwt.encode(claims, self._key, self._algorithm, headers={"kid": self._key_id, "typ": ""}))


def _is_p256(key: object) -> TypeGuard[ec.EllipticCurvePrivateKey]:
    return isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1)


def _binding(account: ServiceAccount, pod: str | None) -> dict[str, object]:
    def named(kind: str, name: str) -> dict[str, str]:
        # The same name has the same UID, so that two tokens of one pod agree.
        return {
            "name": name,
            "uid": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{ISSUER}/{kind}/{account.namespace}/{name}")),
        }

    binding: dict[str, object] = {
        "namespace": account.namespace,
        "serviceaccount": named("serviceaccount", account.name),
    }
    if pod is not None:
        binding |= {"pod": named("pod", pod), "node": named("node", NODE)}
    return binding

"""EC keys that are made in a PKCS#11 token, sign there, and never leave it.

Of such a key only its name is here: the URI that another process opens it by.
"""

from __future__ import annotations

import hashlib
from typing import Any, NoReturn

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

from meshca.authority.keys import key_id as name_of
from meshca.identity.key_type import KeyType
from meshca.keystore.token_session import Session, session_of
from meshca.keystore.token_uri import Token, from_uri, to_uri
from meshca.svid.signature import SigningKey


class TokenKey(ec.EllipticCurvePrivateKey):
    """A private key of which only the name is here.

    Args:
        session: of its token.
        public: its public half.
    """

    def __init__(self, session: Session, public: ec.EllipticCurvePublicKey) -> None:
        self._session = session
        self._public = public
        self._id = name_of(public)

    @property
    def reference(self) -> str:
        """Its name, by which another process opens it."""
        return to_uri(self._session.token, self._id)

    @property
    def curve(self) -> ec.EllipticCurve:
        """Of its public half."""
        return self._public.curve

    @property
    def key_size(self) -> int:
        """Bits."""
        return self._public.curve.key_size

    def public_key(self) -> ec.EllipticCurvePublicKey:
        """Its public half."""
        return self._public

    def sign(self, data: Any, signature_algorithm: ec.EllipticCurveSignatureAlgorithm) -> bytes:  # noqa: ANN401 - any buffer, as the library
        """An ECDSA signature, DER.

        Raises:
            Unavailable: reason `key_token`.
        """
        hashed = signature_algorithm.algorithm
        assert isinstance(hashed, hashes.SHA256 | hashes.SHA384)  # noqa: S101 - `svid.signature` gives these
        digest = hashlib.new(hashed.name, bytes(data)).digest()
        raw = self._session.sign(self._id, digest)
        half = len(raw) // 2
        return utils.encode_dss_signature(int.from_bytes(raw[:half]), int.from_bytes(raw[half:]))

    def exchange(self, algorithm: ec.ECDH, peer_public_key: ec.EllipticCurvePublicKey) -> NoReturn:
        """Never."""
        raise NotImplementedError

    def private_numbers(self) -> NoReturn:
        """Never: they do not leave the token."""
        raise NotImplementedError

    def private_bytes(self, encoding: Any, format: Any, encryption_algorithm: Any) -> NoReturn:  # noqa: A002, ANN401 - the library's
        """Never, as `private_numbers`."""
        raise NotImplementedError

    def __copy__(self) -> TokenKey:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> TokenKey:
        return self


def open_key(uri: str) -> SigningKey:
    """The key that a URI names.

    Raises:
        ConfigError: it names none, or the key or the file with the PIN is not there.
        Unavailable: reason `key_token`.
    """
    token, key_id = from_uri(uri)
    session = session_of(token)
    return TokenKey(session, session.public(key_id))


class Pkcs11KeyStore:
    """Implements `authority.keys.KeyStore` for EC keys in a token.

    Args:
        token: that they are in.
        label: of our keys, which nobody else gives to theirs: others with it are deleted.
    """

    def __init__(self, token: Token, label: str) -> None:
        self._session = session_of(token)
        self._label = label

    def create(self, key_type: KeyType) -> SigningKey:
        """A new key, in the token when this returns.

        Raises:
            ConfigError: the file with the PIN cannot be used.
            Unavailable: reason `key_token`.
        """
        return TokenKey(self._session, self._session.make(key_type, self._label))

    def load(self, key_id: str) -> SigningKey:
        """The key of this name.

        Raises:
            ConfigError: it is missing.
            Unavailable: reason `key_token`.
        """
        return TokenKey(self._session, self._session.public(key_id))

    def key_ids(self) -> frozenset[str]:
        """The names of all our keys.

        Raises:
            Unavailable: reason `key_token`.
        """
        return self._session.key_ids(self._label)

    def keep_only(self, key_ids: frozenset[str]) -> None:
        """Destroy every other key of ours.

        Raises:
            Unavailable: reason `key_token`.
        """
        self._session.destroy(self._label, lambda id_: id_ not in key_ids)

    def discard(self, key: SigningKey) -> None:
        """Destroy a key that was made and is not needed, and no other.

        Raises:
            Unavailable: reason `key_token`.
        """
        name = name_of(key.public_key())
        self._session.destroy(self._label, lambda id_: id_ == name)

"""The one door to PKCS#11: one session for each token in a process, opened when needed, again once it was lost.

The library is imported only then: whoever has no token does without. A key is made so that it cannot leave the
token; one that is not there is told, and never made in its place. A PIN that was refused is never tried again:
tokens lock after 3 to 10 failures.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, Final, TypeVar

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key

from meshca import durable
from meshca.authority.keys import key_id as name_of
from meshca.errors import ConfigError, Unavailable
from meshca.identity.key_type import KeyType
from meshca.keystore.token_uri import Token
from meshca.secret import Secret

T = TypeVar("T")
_CURVES: Final = {KeyType.EC_P256: "secp256r1", KeyType.EC_P384: "secp384r1"}


class Session:
    """The session of a token; use `session_of`."""

    def __init__(self, token: Token) -> None:
        self.token = token
        self._one = threading.Lock()
        self._open: Any = None
        self._refused: tuple[Secret[bytes], str] | None = None  # a PIN, and why
        self._found: dict[str, Any] = {}  # private keys of this session, by their ids: looking takes a millisecond

    def sign(self, key_id: str, digest: bytes) -> bytes:
        """The two numbers of a signature, one after the other.

        Raises:
            Unavailable: reason `key_token`.
        """
        import pkcs11

        def sign(session: Any) -> bytes:  # noqa: ANN401 - the library has no types
            if key_id not in self._found:
                id_ = {pkcs11.Attribute.ID: bytes.fromhex(key_id)}
                wanted = {pkcs11.Attribute.CLASS: pkcs11.ObjectClass.PRIVATE_KEY, **id_}
                self._found[key_id] = next(iter(session.get_objects(wanted)))
            return bytes(self._found[key_id].sign(digest, mechanism=pkcs11.Mechanism.ECDSA))

        return self._do(sign, alone=False)

    def make(self, key_type: KeyType, label: str) -> ec.EllipticCurvePublicKey:
        """The public half of a new key, whose CKA_ID is its subject key identifier.

        Raises:
            Unavailable: reason `key_token`.
        """
        from pkcs11 import Attribute
        from pkcs11 import KeyType as Kind
        from pkcs11.util.ec import encode_ec_public_key, encode_named_curve_parameters

        def make(session: Any) -> ec.EllipticCurvePublicKey:  # noqa: ANN401 - as above
            curve = {Attribute.EC_PARAMS: encode_named_curve_parameters(_CURVES[key_type])}
            hidden = {Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False}
            public, private = session.create_domain_parameters(Kind.EC, curve, local=True).generate_keypair(
                store=True, label=label, private_template=hidden
            )
            made = _public(encode_ec_public_key(public))
            for half in (private, public):
                half[Attribute.ID] = bytes.fromhex(name_of(made))
            return made

        return self._do(make)

    def public(self, key_id: str) -> ec.EllipticCurvePublicKey:
        """The public half of a key whose private half is there.

        Raises:
            ConfigError: it is not there.
            Unavailable: reason `key_token`.
        """
        import pkcs11
        from pkcs11.util.ec import encode_ec_public_key

        def find(session: Any) -> list[bytes]:  # noqa: ANN401 - as above
            id_ = {pkcs11.Attribute.ID: bytes.fromhex(key_id)}
            kinds = pkcs11.ObjectClass.PRIVATE_KEY, pkcs11.ObjectClass.PUBLIC_KEY
            halves = [list(session.get_objects({pkcs11.Attribute.CLASS: kind, **id_})) for kind in kinds]
            return [encode_ec_public_key(halves[1][0])] if all(halves) else []

        found = self._do(find)
        if not found:
            problem = f"the token {self.token.label} has no key {key_id}; was it initialised anew?"
            raise ConfigError(str(self.token.module), [problem])
        return _public(found[0])

    def key_ids(self, label: str) -> frozenset[str]:
        """The CKA_IDs of the keys with a label, in hexadecimal.

        Raises:
            Unavailable: reason `key_token`.
        """
        return self._do(lambda session: frozenset(_id(each) for each in _labelled(session, label)))

    def destroy(self, label: str, doomed: Callable[[str], bool]) -> None:
        """Destroy the keys with the label whose CKA_IDs, in hexadecimal, are doomed.

        Raises:
            Unavailable: reason `key_token`.
        """

        def destroy(session: Any) -> None:  # noqa: ANN401 - as above
            for each in list(_labelled(session, label)):
                if doomed(_id(each)):
                    each.destroy()

        self._do(destroy)

    def _do(self, deed: Callable[[Any], T], *, alone: bool = True) -> T:
        """Do it, and once more with another session when it fails: a token that was away has lost the first.

        A PIN that was refused is not a failure that is tried once more.

        Args:
            deed: what to do with a session.
            alone: while no other process of ours opens, finds, makes or destroys: not every token bears that.

        Raises:
            Unavailable: reason `key_token`.
        """
        import pkcs11

        failed = ""
        with self._one:
            for _ in range(2):
                try:
                    if self._open is None or alone:
                        with self._alone():
                            self._open = self._open or self._opened()
                            return deed(self._open)
                    return deed(self._open)
                except (pkcs11.PKCS11Error, StopIteration) as error:
                    failed = type(error).__name__
                    self._close()
        problem = f"the token {self.token.label} by {self.token.module}: {failed}; check module, label and PIN"
        raise Unavailable("key_token", problem)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        with _pin_file(self.token) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _close(self) -> None:
        """Without it a token that is still there would not be opened again."""
        import pkcs11

        session, self._open = self._open, None
        self._found.clear()
        with contextlib.suppress(pkcs11.PKCS11Error):
            if session is not None:
                session.close()

    def _opened(self) -> Any:  # noqa: ANN401 - as above
        import pkcs11
        from pkcs11.exceptions import PinExpired, PinIncorrect, PinInvalid, PinLenRange, PinLocked

        pin = Secret(durable.read_private(self.token.pin_file).strip())
        if self._refused is None or self._refused[0] != pin:
            self._refused = None
            token = pkcs11.lib(str(self.token.module)).get_token(token_label=self.token.label)
            try:
                return token.open(rw=True, user_pin=pin.reveal().decode(errors="replace"))
            except (PinExpired, PinIncorrect, PinInvalid, PinLenRange, PinLocked) as error:
                self._refused = pin, type(error).__name__
        problem = (
            f"the token {self.token.label} by {self.token.module}: {self._refused[1]}; put the right PIN into"
            f" {self.token.pin_file}: this one is not tried again, or the token would lock"
        )
        raise Unavailable("key_token", problem)


@functools.cache
def session_of(token: Token) -> Session:
    """The session of a token, one in a process; nothing is opened yet."""
    return Session(token)


def _pin_file(token: Token) -> BinaryIO:
    """Open, to be locked.

    Raises:
        ConfigError: it cannot be used.
    """
    durable.read_private(token.pin_file)
    return token.pin_file.open("rb")


def _labelled(session: Any, label: str) -> Any:  # noqa: ANN401 - the library has no types
    import pkcs11

    return session.get_objects({pkcs11.Attribute.LABEL: label})


def _id(each: Any) -> str:  # noqa: ANN401 - as above
    import pkcs11

    return bytes(each[pkcs11.Attribute.ID]).hex()


def _public(spki: bytes) -> ec.EllipticCurvePublicKey:
    key = load_der_public_key(spki)
    assert isinstance(key, ec.EllipticCurvePublicKey)  # noqa: S101 - made as one
    return key

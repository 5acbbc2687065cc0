"""A PIN that a token refuses, with a library that counts how often it is tried."""

from __future__ import annotations

from pathlib import Path

import pkcs11
import pytest
from pkcs11 import exceptions

from meshca.errors import Unavailable
from meshca.keystore.token_session import Session
from meshca.keystore.token_uri import Token


class FakeToken:
    """Stands for the library, a token of it and a session there.

    Attributes:
        refusal: of every PIN but `right`.
        right: the PIN.
        tried: the PINs, in order.
    """

    def __init__(self, refusal: type[Exception]) -> None:
        self.refusal = refusal
        self.right = "1234"
        self.tried: list[str] = []

    def get_token(self, *, token_label: str) -> FakeToken:
        """Itself."""
        assert token_label == "ours"
        return self

    def open(self, *, rw: bool, user_pin: str) -> FakeToken:
        """Log in."""
        assert rw
        self.tried.append(user_pin)
        if user_pin != self.right:
            raise self.refusal
        return self

    def get_objects(self, _: object) -> list[object]:
        """An empty token."""
        return []

    def close(self) -> None:
        """Lose it."""


@pytest.mark.parametrize(
    "refusal",
    [
        exceptions.PinIncorrect,
        exceptions.PinInvalid,
        exceptions.PinLenRange,
        exceptions.PinLocked,
        exceptions.PinExpired,
    ],
)
def test_a_refused_pin(refusal: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried once, however often something is asked, and another one in the file at once."""
    library, pin = FakeToken(refusal), tmp_path / "pin"
    monkeypatch.setattr(pkcs11, "lib", lambda _: library)
    pin.touch(0o600)
    pin.write_text("9999\n")
    session = Session(Token(module=Path("/module"), label="ours", pin_file=pin))
    for _ in range(3):
        with pytest.raises(
            Unavailable, match=rf"ours by /module: {refusal.__name__}; .*{pin}: this one is not tried"
        ):
            session.key_ids("x")
    assert library.tried == ["9999"]
    pin.write_text("1234\n")
    assert session.key_ids("x") == frozenset()
    assert library.tried == ["9999", "1234"]
    pin.write_text("9999\n")
    session._close()
    with pytest.raises(Unavailable):
        session.key_ids("x")
    assert library.tried == ["9999", "1234", "9999"]


def test_another_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not the PIN's fault is tried once more, each time."""
    library, pin = FakeToken(exceptions.DeviceError), tmp_path / "pin"
    monkeypatch.setattr(pkcs11, "lib", lambda _: library)
    pin.touch(0o600)
    pin.write_text("9999")
    with pytest.raises(Unavailable, match="DeviceError; check module, label and PIN"):
        Session(Token(module=Path("/module"), label="ours", pin_file=pin)).key_ids("x")
    assert library.tried == ["9999", "9999"]

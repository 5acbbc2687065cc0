"""Tests of meshca.secret."""

from __future__ import annotations

import copy
import json
import pickle
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshca.secret import Secret

SHOWN = "hunter2"


@dataclass(frozen=True)
class Holder:
    """Something that has a secret."""

    secret: Secret[str]


@pytest.mark.parametrize(
    "shown",
    [
        repr(Secret(SHOWN)),
        str(Secret(SHOWN)),
        f"{Secret(SHOWN)}",
        f"{Secret(SHOWN)!r:>20}",
        f"{Secret(SHOWN):>20}",
        repr(Holder(Secret(SHOWN))),
        repr([Secret(SHOWN.encode())]),
        json.dumps({"k": Secret(SHOWN)}, default=str),
        "%s" % Secret(SHOWN),  # noqa: UP031 - old formatting is one of the ways to print
    ],
    ids=["repr", "str", "format", "format-repr", "format-spec", "dataclass", "list", "json", "percent"],
)
def test_no_way_of_printing_shows_the_value(shown: str) -> None:
    """Every way of turning a secret into text gives three stars."""
    assert SHOWN not in shown
    assert "***" in shown


def test_reveal_gives_the_value() -> None:
    """The value itself is asked for by name."""
    assert Secret(SHOWN).reveal() == SHOWN


def test_a_secret_is_not_pickled() -> None:
    """A secret does not leave the process by pickle."""
    with pytest.raises(TypeError, match="a secret is not pickled"):
        pickle.dumps(Secret(SHOWN))


def test_a_secret_is_not_copied() -> None:
    """A secret is not multiplied by copy, which dataclasses.asdict would do."""
    with pytest.raises(TypeError, match="a secret is not pickled"):
        copy.deepcopy(Secret(SHOWN))


def test_a_secret_has_no_dict() -> None:
    """There is no __dict__ for a debugger or serializer to walk."""
    assert not hasattr(Secret(SHOWN), "__dict__")


@given(left=st.text(), right=st.binary())
def test_equal_secrets_have_equal_hashes(left: str, right: bytes) -> None:
    """Secrets are equal when their bytes are, be they text or bytes, and then their hashes are too."""
    assert Secret(left) == Secret(left.encode())
    assert hash(Secret(left)) == hash(Secret(left.encode()))
    assert (Secret(left) == Secret(right)) is (left.encode() == right)


def test_text_that_is_not_utf8_compares() -> None:
    """A value with a lone surrogate, as os.environ can hold, is compared and not refused."""
    assert Secret("\udc80") == Secret("\udc80")
    assert Secret("\udc80") != Secret("x")


def test_a_secret_equals_nothing_else() -> None:
    """A secret is not equal to its own value."""
    assert Secret(SHOWN) != SHOWN

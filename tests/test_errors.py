"""Tests of meshca.errors."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from meshca import errors
from meshca.errors import (
    BadRequest,
    ConfigError,
    Denied,
    Exhausted,
    InvariantBroken,
    MeshcaError,
    NotFound,
    Unauthenticated,
    Unavailable,
)


def leaves() -> Iterator[type[MeshcaError]]:
    """Every error class but the root."""
    for value in vars(errors).values():
        if isinstance(value, type) and issubclass(value, MeshcaError) and value is not MeshcaError:
            yield value


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (BadRequest, 3),
        (NotFound, 5),
        (Denied, 7),
        (Exhausted, 8),
        (ConfigError, 9),
        (InvariantBroken, 13),
        (Unavailable, 14),
        (Unauthenticated, 16),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else str(value),
)
def test_each_class_has_its_status_code(kind: type[MeshcaError], code: int) -> None:
    """The codes are google.rpc.Code's numbers."""
    assert kind.code == code


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    """Every class is drawn in the module's docstring, and nothing else is."""
    drawn = re.findall(r"[├└]── (\w+)", errors.__doc__ or "")
    assert sorted(drawn) == sorted(kind.__name__ for kind in leaves())


def test_an_unknown_error_is_internal() -> None:
    """The root's own code and sentence tell a client nothing."""
    assert (MeshcaError.code, MeshcaError.public) == (13, "internal error")


def test_the_public_sentence_is_the_same_for_every_instance() -> None:
    """What the client sees does not depend on the private detail."""
    assert Unauthenticated("token_expired", "exp was 10 s ago").public == Unauthenticated("x", "y").public


def test_an_error_prints_its_reason_and_detail() -> None:
    """The log line of an error is its slug and its detail."""
    assert str(Denied("no_rule", "no rule matches")) == "no_rule: no rule matches"


def test_exhausted_says_when_to_try_again() -> None:
    """The retry hint is data, in seconds."""
    assert Exhausted("identity_quota", "empty", retry_after=1.5).retry_after == 1.5


def test_config_error_keeps_every_problem() -> None:
    """All problems are listed, each on its own, and joined in the text."""
    error = ConfigError("meshca.yaml", ["one", "two"])
    assert (error.source, error.problems) == ("meshca.yaml", ("one", "two"))
    assert str(error) == "config: meshca.yaml: one; two"

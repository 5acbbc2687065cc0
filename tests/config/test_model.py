"""Typed scalars of configuration files."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from meshca.config.model import (
    FilePath,
    ListenAddress,
    Model,
    PositiveDuration,
    TrustDomainName,
)
from meshca.identity.spiffe_id import TrustDomain


class Example(Model):
    """One of each."""

    wait: PositiveDuration = timedelta(seconds=1)
    domain: TrustDomainName = TrustDomain("a")
    listen: ListenAddress = "127.0.0.1:0"
    path: FilePath = Path()


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("wait", "0s", "must be longer than 0s"),
        ("wait", "1", "expected a duration with a unit"),
        ("wait", 5, "expected a duration with a unit"),
        ("wait", True, "expected a duration with a unit"),
        ("wait", None, "expected a duration with a unit"),
        ("domain", "UPPER", "trust domain must be one or more of"),
        ("domain", "a..b", "must have no empty label"),
        ("domain", ".a", "must have no empty label"),
        ("domain", "a.", "must have no empty label"),
        ("domain", 5, "expected the name of a trust domain"),
        ("listen", "15012", "expected host:port"),
        ("listen", "127.0.0.1:70000", "expected host:port"),
        ("listen", "127.0.0.1:1\n", "expected host:port"),
        ("path", "", "expected a path"),
        ("path", 5, "expected a path"),
        ("path", "a\0b", "expected a path"),
    ],
)
def test_refuses_scalars(field: str, value: object, problem: str) -> None:
    """Each typed scalar says what it expects."""
    with pytest.raises(ValidationError, match=problem):
        Example.model_validate({field: value})


def test_json_round_trip() -> None:
    """A model written as JSON is read back equal."""
    value = Example(wait=timedelta(hours=1), domain=TrustDomain("x.y"), listen="[::1]:5", path=Path("/a"))
    assert Example.model_validate_json(value.model_dump_json()) == value


def test_unknown_keys_are_errors() -> None:
    """A key that no model knows is refused."""
    with pytest.raises(ValidationError, match="Extra inputs"):
        Example.model_validate({"weit": "1s"})

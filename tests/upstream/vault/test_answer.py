"""The shape of an answer: whatever comes, a typed value or a fault."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshca.errors import Unavailable
from meshca.upstream.vault.answer import MOST, Part, errors_in, parsed, read_answer

SURROGATE = "\ud800"
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
NAMES = st.sampled_from(["data", "auth", "warnings", "errors", "certificate", "ca_chain", "lease_duration"])
LIKE_AN_ANSWER = st.dictionaries(NAMES, ANY_JSON | st.dictionaries(NAMES, ANY_JSON))


def asked(part: Part) -> None:
    """Every question, about every name."""
    for name in (*part.fields, "absent"):
        for question in (part.text, part.texts, part.seconds, part.flag, part.part):
            with contextlib.suppress(Unavailable):
                question(name)


@given(st.binary() | ANY_JSON.map(json.dumps).map(str.encode) | LIKE_AN_ANSWER.map(json.dumps).map(str.encode))
def test_any_answer(raw: bytes) -> None:
    """No bytes raise anything but Unavailable, and whatever is remarked is harmless to print."""
    errors_in(parsed(raw))
    with contextlib.suppress(Unavailable):
        answer = read_answer(parsed(raw))
        asked(answer.data)
        asked(answer.auth)
        assert all(warning.isprintable() for warning in answer.warnings)


def test_deep_nest() -> None:
    """A nest of brackets deeper than the parser goes is no answer."""
    raw = b'{"data":' + b"[" * 100_000
    with pytest.raises(Unavailable, match="no JSON object"):
        read_answer(parsed(raw))
    assert errors_in(parsed(raw)) is None


@pytest.mark.parametrize("raw", [b"[]", b"1", b"null", b"{", b"<html>", b"\xff"])
def test_no_object(raw: bytes) -> None:
    """An answer is one JSON object."""
    with pytest.raises(Unavailable, match="no JSON object"):
        read_answer(parsed(raw))


def test_nothing() -> None:
    """Without a body there is nothing in it."""
    answer = read_answer(parsed(b""))
    assert (answer.data.fields, answer.auth.fields, answer.warnings) == ({}, {}, ())


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b'{"errors": ["a", 1, "b"]}', ("a", "b")),
        (b'{"errors": []}', ()),
        (b'{"errors": "a"}', None),
        (b"{}", None),
        (b"[]", None),
        (b"", None),
    ],
)
def test_errors(raw: bytes, expected: tuple[str, ...] | None) -> None:
    """A list of errors, or these are not the words of a Vault."""
    assert errors_in(parsed(raw)) == expected


def test_warnings() -> None:
    """Remarks are shown without control characters, cut, and not without end."""
    raw = json.dumps({"warnings": ["a\x1b[2J", 1, "x" * 1000, *["y"] * 1000]}).encode()
    warnings = read_answer(parsed(raw)).warnings
    assert warnings[:2] == ("a\\x1b[2J", "x" * 300)
    assert len(warnings) == MOST - 1


@pytest.mark.parametrize("raw", [b'{"warnings": "one"}', b'{"warnings": null}', b"{}"])
def test_no_warnings(raw: bytes) -> None:
    """What is no list of remarks is none."""
    assert read_answer(parsed(raw)).warnings == ()


@pytest.mark.parametrize(
    ("ask", "value", "words"),
    [
        (Part.text, None, "no text x"),
        (Part.text, "", "no text x"),
        (Part.text, 1, "no text x"),
        (Part.text, SURROGATE, "no text x"),
        (Part.text, "é", "no text x"),
        (Part.texts, "a", "x is not a list of at most 64 texts"),
        (Part.texts, ["a"] * 65, "x is not a list of at most 64 texts"),
        (Part.texts, [1], "x holds something else than texts"),
        (Part.texts, [SURROGATE], "x holds something else than texts"),
        (Part.seconds, None, "no number x"),
        (Part.seconds, True, "no number x"),
        (Part.seconds, 1.5, "no number x"),
        (Part.seconds, "1", "no number x"),
        (Part.seconds, -1, "no number x"),
        (Part.seconds, 2**31, "no number x"),
    ],
)
def test_refused(ask: Callable[[Part, str], Any], value: object, words: str) -> None:
    """What has another type than is asked for is refused by its name."""
    with pytest.raises(Unavailable, match=words) as caught:
        ask(Part({"x": value}), "x")
    assert caught.value.reason == "vault_answer"


@pytest.mark.parametrize(
    ("ask", "value", "expected"),
    [
        (Part.text, "a", "a"),
        (Part.texts, ["a", "b"], ("a", "b")),
        (Part.texts, None, ()),
        (Part.seconds, 0, 0),
        (Part.seconds, 2**31 - 1, 2**31 - 1),
        (Part.flag, True, True),
        (Part.flag, "true", False),
        (Part.flag, 1, False),
        (Part.part, {"a": 1}, Part({"a": 1})),
        (Part.part, [], Part({})),
    ],
)
def test_taken(ask: Callable[[Part, str], Any], value: object, expected: object) -> None:
    """What has the type is given."""
    assert ask(Part({"x": value}), "x") == expected


def test_hidden() -> None:
    """What is in an answer is not in its `repr`: it can be a token."""
    assert "secret" not in repr(read_answer({"auth": {"client_token": "secret"}}))

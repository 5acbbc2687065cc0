"""Signing material as one text."""

from __future__ import annotations

import json

import pytest

from meshca.authority.material import certificate_id
from meshca.errors import ConfigError
from meshca.upstream.kept_text import from_text, name_of, to_text
from tests.fakes.pki import make_ca, material_of

ROOT = make_ca("root")
MATERIAL = material_of(make_ca("signer", ROOT), roots=[ROOT])
NAME = f"{certificate_id(ROOT.certificate)[:16]}.json"


def test_round_trip() -> None:
    """What was written is read again, with its key, by a name that is its root's."""
    back = from_text(to_text(MATERIAL), name_of(MATERIAL), "here")
    assert (back.fingerprint, name_of(MATERIAL)) == (MATERIAL.fingerprint, NAME)
    assert back.key.private_numbers() == MATERIAL.key.private_numbers()


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", json.dumps({"chain": 1, "roots": "", "key": ""})])
def test_damaged(text: str) -> None:
    """What is no such text is told by where it lies."""
    with pytest.raises(ConfigError, match="here: is damaged"):
        from_text(text, NAME, "here")


@pytest.mark.parametrize("part", ["chain", "roots", "key"])
def test_part_is_lost(part: str) -> None:
    """A text that lacks a part is damaged, and the error does not show the rest."""
    text = json.dumps({**json.loads(to_text(MATERIAL)), part: ""})
    with pytest.raises(ConfigError, match="is damaged") as refused:
        from_text(text, NAME, "here")
    assert "BEGIN" not in str(refused.value)


def test_another_name() -> None:
    """What is not what its name says is refused."""
    with pytest.raises(ConfigError, match="holds another root than its name says"):
        from_text(to_text(MATERIAL), f"{'0' * 16}.json", "here")

"""The words about roots in the pages are those of the program: states, grades, keys, metrics, events, roles."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from meshca.authority import straggling
from meshca.authority.fleet import Word
from meshca.authority.lifecycle import State
from meshca.config.admin import AdminConfig, AdminRole
from meshca.config.rotation import RotationConfig
from meshca.rpc.roles import Role

ROOT = Path(__file__).resolve().parents[2]
PAGES = ROOT / "docs" / "operations"
TEXT = (PAGES / "rotate-root.md").read_text()
SERVE = (PAGES / "serve.md").read_text()
CODE = "\n".join(path.read_text() for path in (ROOT / "meshca").rglob("*.py"))
EVENTS = sorted({event for row in re.findall(r"^\| (`[a-z]+\.[a-z_]+`[^|]*) \|", TEXT, re.MULTILINE)
                 for event in re.findall(r"`([a-z]+\.[a-z_]+)`", row)})  # fmt: skip
METRICS = sorted(set(re.findall(r"`(meshca_[a-z_]+)", TEXT)))
SAID = ("is not connected, was last seen at", "refuses or holds up the roots:",
        "is connected but has not acknowledged the roots yet", "never got the roots;", "got the roots at",
        "holds a certificate below")  # fmt: skip


@pytest.mark.parametrize("state", State)
def test_every_state_has_a_row(state: State) -> None:
    """An administrator who reads a state finds what it means."""
    assert f"\n| `{state}` | " in TEXT


@pytest.mark.parametrize("word", Word)
def test_every_word_has_a_row(word: Word) -> None:
    """The same for on whose word a workload trusts."""
    assert re.search(rf"^\| {word}\b", TEXT, re.MULTILINE)


@pytest.mark.parametrize("key", sorted(set(RotationConfig.model_fields)))
def test_every_key_of_rotation_is_explained(key: str) -> None:
    """What decides when a gate opens is named where gates are explained."""
    assert f"rotation.{key}" in TEXT


@pytest.mark.parametrize("key", sorted({*AdminConfig.model_fields, *AdminRole.model_fields}))
def test_every_key_of_admin_is_explained(key: str) -> None:
    """Who may do what is in one of the two pages."""
    assert key in TEXT or key in SERVE


@pytest.mark.parametrize("role", Role)
def test_every_role_has_a_column(role: Role) -> None:
    """What each may do stands in the table of administrators."""
    assert re.search(rf"^\|.*\| {role} \|", SERVE, re.MULTILINE) or f"| {role} |" in SERVE


@pytest.mark.parametrize("event", EVENTS)
def test_every_event_is_logged(event: str) -> None:
    """Whoever searches the log for what the page names finds it."""
    assert f'"{event}"' in CODE


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_exists(name: str) -> None:
    """An alarm on it can go off."""
    assert name.removesuffix("_total") in CODE.replace("_total", "")


@pytest.mark.parametrize("words", SAID)
def test_what_stragglers_are_said_to_lack_is_said(words: str) -> None:
    """The table of reasons quotes the program."""
    assert f"| {words}" in TEXT
    assert words in Path(straggling.__file__).read_text()

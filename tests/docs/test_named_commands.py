"""Every command that a page names in passing exists, with the flags that stand beside it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup

from meshca.cli.main import build

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
_NAMED = re.compile(r"`meshca\s([^`]+)`")
_WORD = re.compile(r"[a-z-]+(?:\|[a-z-]+)*")
HELP = "--help"  # click adds it when a command runs
MESHCA = typer.main.get_command(build())


def unknown(span: str) -> str:
    """The first word or flag of a command line that does not exist; empty when all do.

    Words with `|` between them are alternatives. What follows the command and is no flag is not looked at.
    """
    now = [MESHCA]
    for word in span.split():
        groups = [command for command in now if isinstance(command, TyperGroup)]
        if word.startswith("--"):
            flag = word.partition("=")[0].rstrip(",;.")
            known = {option for command in now for parameter in command.params for option in parameter.opts}
            if flag not in {*known, HELP}:
                return flag
        elif groups:
            if not _WORD.fullmatch(word):
                return ""
            names = word.split("|")
            if missing := [name for name in names if name not in groups[0].commands]:
                return missing[0]
            now = [groups[0].commands[name] for name in names]
    return ""


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_named_command_exists(document: Path) -> None:
    """Nobody types one in vain."""
    spans = _NAMED.findall(document.read_text(encoding="utf-8"))
    assert {span: word for span in spans if (word := unknown(span))} == {}


@pytest.mark.parametrize(
    ("span", "missing"),
    [
        ("root rotate --wait --reason …", ""),
        ("root list|show|export", ""),
        ("root list|shwo", "shwo"),
        ("approve ID", ""),
        ("agent --help", ""),
        ("roots", "roots"),
        ("root rotate --now", "--now"),
        ("ledger …", ""),
    ],
)
def test_what_does_not_exist_is_found(span: str, missing: str) -> None:
    """A word, an alternative, a flag; not a value."""
    assert unknown(span) == missing

"""Links between documents lead somewhere: to a file of the repository, and to a heading that it has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
_LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def anchor(heading: str) -> str:
    """What GitHub makes of a heading: lower case, without punctuation, hyphens for spaces."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(document: Path) -> None:
    """Files exist, headings too."""
    for target, heading in _LINK.findall(document.read_text(encoding="utf-8")):
        path = (document.parent / target).resolve() if target else document
        assert path.exists(), f"{target} does not exist"
        if heading and path.suffix == ".md":
            anchors = [anchor(found) for found in _HEADING.findall(path.read_text(encoding="utf-8"))]
            assert heading in anchors, f"{target} has no heading #{heading}"


@pytest.mark.parametrize(
    ("heading", "expected"),
    [("Call it without our `.proto` files", "call-it-without-our-proto-files"), ("A, b & c", "a-b--c")],
)
def test_anchors_are_made_as_github_makes_them(heading: str, expected: str) -> None:
    """Only what the links above need."""
    assert anchor(heading) == expected

"""Lines and columns of a text."""

from __future__ import annotations

import pytest

from meshca.sidecar.manifest_layout import Layout, NotEditable
from meshca.sidecar.manifest_text import parse

TEXT = "a: 1\n  # one\n# two\nb:\n- x\n#\n- y\n"
LAYOUT = Layout(TEXT)


def at(word: str) -> int:
    """Where a word stands."""
    return TEXT.index(word)


def test_lines_and_columns() -> None:
    """Counted in characters."""
    assert (LAYOUT.line(at("x")), LAYOUT.column(at("x"))) == (at("- x"), 2)
    assert (LAYOUT.line(0), LAYOUT.column(0)) == (0, 0)


@pytest.mark.parametrize(
    ("text", "place", "after"), [("a\nb", 0, 2), ("a\nb", 3, 3), ("|\n x\nb", 5, 5), ("", 0, 0)]
)
def test_next_line(text: str, place: int, after: int) -> None:
    """The end of the text if there is none; a text in lines ends where the next line begins."""
    assert Layout(text).next_line(place) == after


@pytest.mark.parametrize(("lowest", "above"), [(0, "  # one"), (at("# two"), "# two"), (at("b:"), "b:")])
def test_above_comments(lowest: int, above: str) -> None:
    """Comments belong to what comes below them, down to a limit."""
    assert LAYOUT.above_comments(at("b:"), lowest) == at(above)


def test_comments_at_the_top() -> None:
    """And lines that end as on Windows."""
    assert Layout("# a\r\n# b\r\nc: 1\r\n").above_comments(10, 0) == 0


def test_dashes() -> None:
    """Comments between them do not count."""
    [document] = parse(TEXT, "")
    assert LAYOUT.dashes(document.entries[1][1]) == [at("- x"), at("- y")]


@pytest.mark.parametrize("text", ["- - 1\n", "&x\n- 1\n"])
def test_no_dashes(text: str) -> None:
    """A list that begins behind something else."""
    [document] = parse(text, "")
    with pytest.raises(NotEditable, match="does not begin on a line of its own"):
        Layout(text).dashes(document.items[0] if text.startswith("- -") else document)


def test_line_breaks_of_another_age() -> None:
    """A lone carriage return is a line break to YAML, not to us."""
    text = "- 1\r- 2\r"
    with pytest.raises(NotEditable, match="do not stand below each other"):
        Layout(text).dashes(parse(text, "")[0])

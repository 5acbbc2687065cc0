"""Foreign text made harmless."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from meshca.printable import printable


def test_control_characters_are_spelled_out() -> None:
    """A terminal must not obey them."""
    assert printable("a\x1b[2Jb\n\u202ec") == "a\\x1b[2Jb\\n\\u202ec"


def test_kept() -> None:
    """What is to stay stays."""
    assert printable("a\n\tb", keep="\n") == "a\n\\tb"


@given(st.text())
def test_always_printable(text: str) -> None:
    """A law: nothing gets through, and printable text is left as it is."""
    shown = printable(text)
    assert shown.isprintable()
    assert printable(shown) == shown

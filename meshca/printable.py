"""Foreign text made harmless for terminals and logs, in the one way that everything of ours shows it."""

from __future__ import annotations


def printable(text: str, keep: str = "") -> str:
    """Without control characters, which are spelled out: a terminal must not obey what somebody else wrote.

    Args:
        text: any text.
        keep: characters that stay although they control, such as line ends.
    """
    return "".join(c if c.isprintable() or c in keep else ascii(c)[1:-1] for c in text)

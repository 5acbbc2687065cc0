"""Lines and columns of a YAML text: where lines begin, what stands above them, where dashes are. Pure."""

from __future__ import annotations

import re
from typing import Final

from meshca.sidecar.manifest_text import Node

_COMMENT: Final = re.compile(r"[ \t]*#.*")


class NotEditable(Exception):
    """A place is written in a way that cannot be changed where it stands.

    Attributes:
        line: of the place, from 1.
        problem: what to do.
    """

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(line, problem)
        self.line = line
        self.problem = problem


class Layout:
    """The lines of a text.

    Args:
        text: with the line breaks of Unix or Windows.
    """

    def __init__(self, text: str) -> None:
        self._text = text

    def line(self, place: int) -> int:
        """Where the line of a place begins."""
        return self._text.rfind("\n", 0, place) + 1

    def column(self, place: int) -> int:
        """How many characters stand before a place on its line."""
        return place - self.line(place)

    def next_line(self, place: int) -> int:
        """Where the line after a place begins; the place itself when a text in lines (`|`) ends there."""
        if self._text[place - 1 : place] == "\n":
            return place
        found = self._text.find("\n", place)
        return len(self._text) if found < 0 else found + 1

    def above_comments(self, place: int, lowest: int) -> int:
        """The beginning of the lines of comment directly above a line, but not further up than `lowest`."""
        while place > lowest and _COMMENT.fullmatch(self._text[self.line(place - 1) : place - 1].rstrip("\r")):
            place = self.line(place - 1)
        return place

    def dashes(self, node: Node) -> list[int]:
        """Where the dash of each item of a sequence of lines stands.

        Raises:
            NotEditable: the dashes do not stand below each other.
        """
        first = node.start
        if self._text[first] != "-" or self._text[self.line(first) : first].strip():
            raise NotEditable(node.line, "is a list that does not begin on a line of its own")
        column = self.column(first)
        dash = re.compile(rf"^ {{{column}}}-(?=\s|\Z)", re.MULTILINE)
        found = [first]
        for before in node.items[:-1]:
            match = dash.search(self._text, self.next_line(before.end))
            if match is None:
                raise NotEditable(node.line, "is a list whose dashes do not stand below each other")
            found.append(match.end() - 1)
        return found

"""Reads the console blocks of a document: what to run, how, and what must be seen.

Every ```console block has a comment on the line before it, which says what continuous integration does:

    <!-- run -->                               each command, in order, must succeed and print what the block shows
    <!-- run in the background until PLACE --> its one command is started, and ended with the document; it serves
                                               when PLACE is a file that exists or a host:port that answers
    <!-- not run: REASON -->                   nothing; the reason says who runs it instead

In a block, `$ ` begins a command, `> ` continues it; every other line is output that must be seen in this
order, where `…` stands for anything and the width of a column does not matter.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_BLOCK = re.compile(r"(?P<before>[^\n]*)\n```console\n(?P<body>.*?)\n```", re.DOTALL)
_RUN = re.compile(r"<!-- run -->")
_BACKGROUND = re.compile(r"<!-- run in the background until (?P<place>\S+) -->")
_NOT_RUN = re.compile(r"<!-- not run: (?P<reason>.+) -->")


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One command of a block.

    Attributes:
        text: for bash.
        output: lines that must be seen.
        until: the file or host:port that says that a background command serves; empty for an ordinary one.
    """

    text: str
    output: tuple[str, ...] = ()
    until: str = ""

    def missing(self, printed: str) -> str:
        """The first line of `output` that was not seen in order; empty when all were."""
        rest = map(_squeezed, printed.splitlines())
        for line in self.output:
            pattern = re.compile(".*".join(re.escape(part) for part in _squeezed(line).split("…")))
            if not any(pattern.fullmatch(seen) for seen in rest):
                return line
        return ""


def commands(document: str) -> list[Command]:
    """The commands of a document, in order.

    Raises:
        ValueError: a block has no comment that says what to do with it, or a background block has not one command.
    """
    found: list[Command] = []
    for block in _BLOCK.finditer(document):
        before, parsed = block["before"].strip(), _parse(block["body"])
        if _RUN.fullmatch(before):
            found += parsed
        elif (match := _BACKGROUND.fullmatch(before)) is not None:
            if len(parsed) != 1:
                raise ValueError(f"a block in the background has one command: {block['body']!r}")
            found.append(Command(text=parsed[0].text, until=match["place"]))
        elif not _NOT_RUN.fullmatch(before):
            raise ValueError(f"say before this block whether it is run: {block['body']!r}")
    return found


def _squeezed(line: str) -> str:
    return re.sub(" +", " ", line.rstrip())


def _parse(body: str) -> list[Command]:
    found: list[Command] = []
    text, output = "", list[str]()
    for line in body.splitlines():
        if line.startswith("$ "):
            found += [Command(text=text, output=tuple(output))] if text else []
            text, output = line.removeprefix("$ "), []
        elif line.startswith("> "):
            text += "\n" + line.removeprefix("> ")
        elif line.strip():
            output.append(line.rstrip())
    return [*found, Command(text=text, output=tuple(output))] if text else found

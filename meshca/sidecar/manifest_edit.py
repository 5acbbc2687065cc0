"""Changes YAML text so that it says a new value and touches nothing else: comments, quoting, order, layout stay.

The text that comes out is read again with the same reader, and must say exactly what was asked for in every
document; otherwise the change is refused, never written. Lists of named things (containers, volumes) are
compared by their names.
"""

from __future__ import annotations

import difflib
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from meshca.errors import ConfigError
from meshca.sidecar import manifest_render as render
from meshca.sidecar.manifest_layout import Layout, NotEditable
from meshca.sidecar.manifest_text import Node, parse


@dataclass(frozen=True, slots=True, kw_only=True)
class _Edit:
    """Replace a range of characters; `lines` are whole lines, which must begin on one of their own."""

    start: int
    end: int
    text: str
    lines: bool


def rewrite(text: str, documents: Sequence[Node], wanted: Mapping[int, Any]) -> str:
    """The text in which some documents say something new.

    Args:
        text: what was parsed.
        documents: as `parse` gave them.
        wanted: number of a document, from 0 -> its new value.

    Raises:
        NotEditable: a place cannot be changed where it stands.
    """
    editor = _Editor(text)
    for number, value in wanted.items():
        editor.change(documents[number], value)
    edited = editor.done()
    _read_back(edited, documents, wanted)
    return edited


def same(one: Any, other: Any) -> bool:  # noqa: ANN401 - any two values
    """Whether two values are equal in kind, too: `1`, `1.0` and `true` are three."""
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(part, other[key]) for key, part in one.items())
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other) or repr(one) == repr(other)  # not-a-number is not itself


def _read_back(edited: str, documents: Sequence[Node], wanted: Mapping[int, Any]) -> None:
    try:
        now = [node.value for node in parse(edited, "")]
    except ConfigError:
        now = []
    if len(now) == len(documents):
        expected = [wanted.get(number, node.value) for number, node in enumerate(documents)]
        lines = [
            node.line for node, one, other in zip(documents, now, expected, strict=True) if not same(one, other)
        ]
    else:
        lines = [documents[number].line for number in wanted]
    if lines:
        problem = (
            "cannot be changed in place; write the document in lines without anchors, end the file with a newline"
        )
        raise NotEditable(lines[0], problem)


class _Editor:
    """Gathers edits of one text.

    Args:
        text: what is edited.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._layout = Layout(text)
        self._newline = "\r\n" if "\r\n" in text else "\n"
        self._edits: list[_Edit] = []

    def done(self) -> str:
        """The text with every edit in it; of edits at one place the deeper, which came first, is first."""
        parts, position, last = list[str](), 0, "\n"
        for edit in sorted(self._edits, key=lambda edit: (edit.start, edit.end)):
            kept = self._text[position : edit.start]
            last = (kept or last)[-1]
            missing = "\n" if edit.lines and edit.text and last != "\n" else ""
            parts += [kept, (missing + edit.text).replace("\n", self._newline)]
            last = (edit.text or last)[-1]
            position = max(position, edit.end)
        return "".join([*parts, self._text[position:]])

    def change(self, node: Node, new: Any) -> None:  # noqa: ANN401 - any value
        """Make a collection with something in it say something new, of the same kind and with something in it."""
        if same(node.value, new):
            return
        if node.alias:
            raise NotEditable(node.line, "is an alias; write it out, so that it can be changed")
        match isinstance(new, dict), node.flow:
            case True, True:
                self._flow_mapping(node, new)
            case True, False:
                self._mapping(node, new)
            case _, True:
                self._flow_sequence(node, new)
            case _:
                self._sequence(node, new)

    def _mapping(self, node: Node, new: dict[Hashable, Any]) -> None:
        own = self._own(node, new)
        first = node.entries[0][0].start
        column = self._layout.column(first)
        kept = [key.start for key, _ in own.values() if key.value in new]
        if own and not kept:
            whole = "".join(render.entry(str(name), part, column) for name, part in new.items())
            self._add(first, self._layout.next_line(node.end), whole[column:])
            return
        behind_dash = bool(self._text[first - column : first].strip())
        for key, value in own.values():
            if key.value not in new and key.start == first and behind_dash:
                self._add(first, kept[0], "")
            elif key.value not in new:
                self._add(self._layout.line(key.start), self._layout.next_line(value.end), "", lines=True)
            elif not same(value.value, new[key.value]):
                self._value(key, value, new[key.value], column)
        pending: list[str] = []
        for name, part in new.items():
            if name not in node.value:
                pending.append(render.entry(str(name), part, column))
            elif pending and name in own and behind_dash and own[name][0].start == kept[0]:
                self._add(kept[0], kept[0], "".join(pending)[column:] + " " * column)
                pending = []
            elif pending and name in own:
                self._above(node, own[name][0], "".join(pending))
                pending = []
        end = self._layout.next_line(node.end)
        self._add(end, end, "".join(pending), lines=True)

    def _own(self, node: Node, new: dict[Hashable, Any]) -> dict[Hashable, tuple[Node, Node]]:
        """What the mapping itself says; merged keys cannot be changed here."""
        own = {key.value: (key, value) for key, value in node.entries if key.value in node.value}
        if any(key not in own and not same(part, new.get(key)) for key, part in node.value.items()):
            raise NotEditable(node.line, "has keys from a merge (<<); write them out, so that they can be changed")
        return own

    def _value(self, key: Node, value: Node, new: Any, column: int) -> None:  # noqa: ANN401 - any value
        """Change the value of a key in a mapping of lines."""
        if value.value and new and isinstance(new, dict | list) and type(value.value) is type(new):
            self.change(value, new)
            return
        colon = self._text.index(":", key.end) + 1
        first, _, below = render.entry("k", new, column).partition("\n")
        said, after = first[column + len("k:") :], self._layout.next_line(value.end)
        if "\n" in self._text[colon : value.end]:  # what takes several lines gives way whole
            self._add(colon, after, f"{said}\n{below}")
            return
        self._add(colon, value.end, said)
        self._add(after, after, below, lines=True)

    def _above(self, node: Node, key: Node, text: str) -> None:
        """Insert lines above a key and its comments."""
        place = self._layout.line(key.start)
        ends = [value.end for _, value in node.entries if value.end <= place]
        above = self._layout.above_comments(place, self._layout.next_line(max(ends)) if ends else 0)
        self._add(above, above, text, lines=True)

    def _sequence(self, node: Node, new: list[Any]) -> None:
        dashes = self._layout.dashes(node)
        for code, at, until, first, last in _compared(node, new):
            if code == "pairs":
                for number, part in zip(range(at, until), new[first:last], strict=True):
                    self._item(node, dashes, number, part)
                continue
            for number in range(at, until):
                self._drop(node, dashes, number)
            place = self._layout.next_line(node.end)
            if at < len(dashes):
                before = self._layout.next_line(node.items[at - 1].end) if at else 0
                place = self._layout.above_comments(self._layout.line(dashes[at]), before)
            self._insert(place, new[first:last], dashes)

    def _item(self, node: Node, dashes: list[int], number: int, new: Any) -> None:  # noqa: ANN401 - any value
        item = node.items[number]
        if same(item.value, new):
            return
        if item.value and new and isinstance(new, dict) and isinstance(item.value, dict):
            self.change(item, new)
            return
        self._insert(self._layout.line(dashes[number]), [new], dashes)
        self._drop(node, dashes, number)

    def _insert(self, place: int, new: list[Any], dashes: list[int]) -> None:
        column = self._layout.column(dashes[0])
        self._add(place, place, "".join(render.item(part, column) for part in new), lines=True)

    def _drop(self, node: Node, dashes: list[int], number: int) -> None:
        self._add(
            self._layout.line(dashes[number]), self._layout.next_line(node.items[number].end), "", lines=True
        )

    def _flow_mapping(self, node: Node, new: dict[Hashable, Any]) -> None:
        own = self._own(node, new)
        if own.keys() - new.keys():
            self._add(node.start, node.end, render.in_brackets(new))
            return
        for name, (_, value) in own.items():
            self._flow_value(value, new[name])
        for name in (name for name in new if name not in node.value):
            added = f", {render.in_brackets(str(name))}: {render.in_brackets(new[name])}"
            self._add(node.entries[-1][1].end, node.entries[-1][1].end, added)

    def _flow_sequence(self, node: Node, new: list[Any]) -> None:
        steps = _compared(node, new)
        if any(code not in {"pairs", "insert"} for code, *_ in steps):
            self._add(node.start, node.end, render.in_brackets(new))
            return
        for code, at, until, first, last in steps:
            if code == "pairs":
                for value, part in zip(node.items[at:until], new[first:last], strict=True):
                    self._flow_value(value, part)
                continue
            added = ", ".join(map(render.in_brackets, new[first:last]))
            if at < len(node.items):
                self._add(node.items[at].start, node.items[at].start, f"{added}, ")
            else:
                self._add(node.items[-1].end, node.items[-1].end, f", {added}")

    def _flow_value(self, value: Node, new: Any) -> None:  # noqa: ANN401 - any value
        if same(value.value, new):
            return
        if value.value and new and isinstance(new, dict | list) and type(value.value) is type(new):
            self.change(value, new)
        elif value.start == value.end:
            raise NotEditable(value.line, "has a key without a value in brackets; write it in lines")
        else:
            self._add(value.start, value.end, render.in_brackets(new))

    def _add(self, start: int, end: int, text: str, *, lines: bool = False) -> None:
        if text or end > start:
            self._edits.append(_Edit(start=start, end=end, text=text, lines=lines))


def _compared(node: Node, new: list[Any]) -> Sequence[tuple[str, int, int, int, int]]:
    """How a list becomes another one, as difflib says it; `pairs` are items of both that belong together.

    Named things belong together when their names are equal, others when nothing was added or taken between.
    """
    old = list(map(_name, node.value))
    steps = difflib.SequenceMatcher(None, old, list(map(_name, new)), autojunk=False).get_opcodes()
    return [
        (
            "pairs" if code == "equal" or (code == "replace" and until - at == last - first) else code,
            at,
            until,
            first,
            last,
        )
        for code, at, until, first, last in steps
    ]


def _name(item: Any) -> str:  # noqa: ANN401 - any value
    named = isinstance(item, dict) and isinstance(item.get("name"), str)
    return f"name {item['name']}" if named else repr(item)

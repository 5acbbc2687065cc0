"""YAML text as a tree of nodes that know their place, so that a manifest can be changed without rewriting it.

A loader gives values and forgets comments, quoting and layout; a round-trip library keeps most of them. Here
nothing is lost, because the text stays and only places are edited (`manifest_edit`). Reads any manifest, also
one that the strict reader of our own files refuses: aliases, merge keys, unknown tags.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from meshca.errors import ConfigError

LARGEST: Final = 32 * 1024 * 1024  # characters; all the custom resources of a large release are a tenth of it
_DEEPEST: Final = 100  # levels; schemas of custom resources reach 40
_MOST_VALUES: Final = 1_000_000  # of a document with its aliases unfolded: a small text can unfold to gigabytes
_MERGE: Final = "<<"
_RESOLVER: Final[Any] = yaml.resolver.Resolver()
_CONSTRUCTOR: Final[Any] = yaml.constructor.SafeConstructor()
# What Kubernetes reads as something else than a string; the rest (dates among them) is text to it.
_TYPED: Final = {
    "tag:yaml.org,2002:null": _CONSTRUCTOR.construct_yaml_null,
    "tag:yaml.org,2002:bool": _CONSTRUCTOR.construct_yaml_bool,
    "tag:yaml.org,2002:int": _CONSTRUCTOR.construct_yaml_int,
    "tag:yaml.org,2002:float": _CONSTRUCTOR.construct_yaml_float,
}


@dataclass(slots=True, kw_only=True)
class Node:
    """A value and where it stands.

    Attributes:
        start: index of its first character; of its anchor or tag if it has one.
        end: index behind its last character; what follows on that line is a comment at most.
        line: its first line, from 1.
        value: as Kubernetes reads it; a mapping is a dict, with merge keys applied.
        flow: whether it is written in brackets, or is a scalar.
        block_scalar: whether it is written with `|` or `>`.
        alias: whether it is a reference to an anchor.
        entries: key and value of each line of a mapping, without merged ones.
        items: of a sequence.
        size: how many values it unfolds to.
        doubled: lines on which a key stands for the second time, here or below.
    """

    start: int
    end: int
    line: int
    value: Any = None
    flow: bool = True
    block_scalar: bool = False
    alias: bool = False
    entries: list[tuple[Node, Node]] = field(default_factory=list)
    items: list[Node] = field(default_factory=list)
    size: int = 1
    doubled: list[int] = field(default_factory=list)

    def line_of(self, *path: str | int) -> int:
        """The line of a key or item; of the last one on the way that is there."""
        node, line = self, self.line
        for step in path:
            found = node.child(step)
            if found is None:
                break
            node, line = found[1], found[0].line
        return line

    def child(self, step: str | int) -> tuple[Node, Node] | None:
        """Key and value, or an item twice."""
        if isinstance(step, int):
            return (self.items[step], self.items[step]) if step < len(self.items) else None
        return next((entry for entry in self.entries if entry[0].value == step), None)


def parse(text: str, source: str) -> list[Node]:
    """The root of every document, empty ones included.

    Args:
        text: without a byte order mark.
        source: its name, for messages.

    Raises:
        ConfigError: with the line and column of the first fault.
    """
    if len(text) > LARGEST:
        raise ConfigError(source, [f"the file must be at most {LARGEST // 1024 // 1024} MiB"])
    try:
        return list(_documents(yaml.parse(text, Loader=yaml.CSafeLoader)))
    except _Refused as refused:
        raise ConfigError(source, [refused.args[0]]) from None
    except yaml.MarkedYAMLError as error:
        raise ConfigError(source, [_explain(error)]) from None
    except yaml.YAMLError:
        raise ConfigError(source, ["the file must be printable YAML text"]) from None


class _Refused(Exception):
    """A shape of YAML that cannot be worked with."""

    def __init__(self, problem: str, line: int) -> None:
        super().__init__(f"line {line}: {problem}")


@dataclass(slots=True)
class _Open:
    """A collection whose end has not been read."""

    event: yaml.CollectionStartEvent
    parts: list[Node] = field(default_factory=list)


def _documents(events: Iterator[yaml.Event]) -> Iterator[Node]:
    """Build each document; the stack is ours, since deep nesting must not overflow Python's."""
    stack: list[_Open] = []
    anchors: dict[str, Node | None] = {}
    for event in events:
        if isinstance(event, yaml.DocumentStartEvent):
            anchors = {}
        elif isinstance(event, yaml.CollectionStartEvent):
            stack.append(_Open(event))
            _remember(anchors, event, None)  # until it is whole
            if len(stack) > _DEEPEST:
                raise _Refused(f"nested over {_DEEPEST} levels deep", _mark(event.start_mark).line + 1)
        elif isinstance(event, yaml.NodeEvent | yaml.CollectionEndEvent):
            node = _node(event, stack, anchors)
            if stack:
                stack[-1].parts.append(node)
            else:
                yield node


def _mark(mark: Any) -> yaml.error.Mark:  # noqa: ANN401 - libyaml's marks have a type of their own
    """A place, which every event of a text has."""
    found: yaml.error.Mark = mark
    return found


def _node(event: yaml.Event, stack: list[_Open], anchors: dict[str, Node | None]) -> Node:
    """The node that this event ends."""
    if isinstance(event, yaml.AliasEvent):
        return _alias(event, anchors)
    if isinstance(event, yaml.ScalarEvent):
        node = _scalar(event)
        _remember(anchors, event, node)
        return node
    opened = stack.pop()
    make = _mapping if isinstance(opened.event, yaml.MappingStartEvent) else _sequence
    node = make(opened, event)
    if node.size > _MOST_VALUES:
        raise _Refused(f"unfolds to over {_MOST_VALUES} values", node.line)
    _remember(anchors, opened.event, node)
    return node


def _remember(anchors: dict[str, Node | None], event: yaml.NodeEvent, node: Node | None) -> None:
    if event.anchor is not None:
        anchors[event.anchor] = node


def _alias(event: yaml.AliasEvent, anchors: dict[str, Node | None]) -> Node:
    target = anchors.get(str(event.anchor))
    if target is None:
        raise _Refused("an alias without an anchor before it", _mark(event.start_mark).line + 1)
    start, end = _mark(event.start_mark), _mark(event.end_mark)
    return Node(
        start=start.index, end=end.index, line=start.line + 1, value=target.value, alias=True, size=target.size
    )


def _scalar(event: yaml.ScalarEvent) -> Node:
    start = _mark(event.start_mark)
    return Node(
        start=start.index,
        end=_mark(event.end_mark).index,
        line=start.line + 1,
        value=_value(event),
        block_scalar=event.style in {"|", ">"},
    )


def _value(event: yaml.ScalarEvent) -> Any:  # noqa: ANN401 - what the text means
    plain = event.implicit[0]
    tag = _RESOLVER.resolve(yaml.ScalarNode, event.value, event.implicit) if plain else event.tag
    read = _TYPED.get(str(tag))
    if read is None:
        return event.value
    try:
        return read(yaml.ScalarNode(str(tag), event.value))
    except (ValueError, KeyError, IndexError):  # an explicit tag on what is no such thing
        raise _Refused("a value that does not fit its tag", _mark(event.start_mark).line + 1) from None


def _mapping(opened: _Open, end: yaml.Event) -> Node:
    entries = list(zip(opened.parts[::2], opened.parts[1::2], strict=True))
    value: dict[Any, Any] = {}
    doubled = [line for part in opened.parts for line in part.doubled]
    for key, part in entries:
        if not isinstance(key.value, str | int | float | bool | None):
            raise _Refused("keys must be plain values", key.line)
        if key.value in value:
            doubled.append(key.line)
        value[key.value] = part.value
    merged = value.pop(_MERGE, None)
    for source in merged if isinstance(merged, list) else [merged]:  # the first one wins
        if isinstance(source, dict):
            value = source | value
    return _collection(opened, end, value=value, entries=entries, doubled=doubled)


def _sequence(opened: _Open, end: yaml.Event) -> Node:
    doubled = [line for part in opened.parts for line in part.doubled]
    return _collection(
        opened, end, value=[part.value for part in opened.parts], items=opened.parts, doubled=doubled
    )


def _collection(opened: _Open, end: yaml.Event, **fields: Any) -> Node:  # noqa: ANN401 - fields of Node
    start = _mark(opened.event.start_mark)
    flow = bool(opened.event.flow_style)
    last = opened.parts[-1].end if opened.parts else start.index
    return Node(
        start=start.index,
        end=_mark(end.end_mark).index if flow else last,
        line=start.line + 1,
        flow=flow,
        size=1 + sum(part.size for part in opened.parts),
        **fields,
    )


def _explain(error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark
    place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    return f"{place}{error.problem or 'not valid YAML'}"

"""YAML as we accept it everywhere: configuration, admission rules, authorization policies.

The safe subset only, and stricter: duplicate keys, anchors with aliases (a small file can unfold to
gigabytes) and files over a size limit are refused, and scalars that YAML 1.1 reads surprisingly (`no`, dates)
stay what PyYAML's safe loader makes of them, so that the typed models above refuse them.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import yaml

from meshca.errors import ConfigError

MAX_BYTES = 1024 * 1024  # as large as a ConfigMap can be (Kubernetes ConfigMap limit)
MAX_DEPTH = 50  # libyaml's composer recurses in C and crashes the process on a hundred thousand brackets


class _Refused(Exception):
    """A shape of YAML that we do not accept."""

    def __init__(self, problem: str, event: yaml.Event) -> None:
        mark = event.start_mark
        super().__init__(f"line {mark.line + 1}, column {mark.column + 1}: {problem}" if mark else problem)


class _StrictLoader(yaml.CSafeLoader):
    """Refuses duplicate keys and keys that are not strings."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002 - PyYAML's signature
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(None, None, "keys must be strings", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"duplicate key {key!r}", key_node.start_mark)
            seen.add(key)
        mapping: dict[Hashable, Any] = super().construct_mapping(node, deep=deep)
        return mapping


def load_all(text: str, source: str) -> list[Any]:
    """Every document of a YAML text, empty ones left out.

    Args:
        text: the file's content.
        source: its name, for messages.

    Raises:
        ConfigError: with the line and column of the first fault.
    """
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise ConfigError(source, [f"the file must be at most {MAX_BYTES} bytes"])
    try:
        _refuse_shapes(text)
        documents = list(yaml.load_all(text, Loader=_StrictLoader))
    except _Refused as refused:
        raise ConfigError(source, [refused.args[0]]) from None
    except yaml.MarkedYAMLError as error:
        raise ConfigError(source, [_explain(error)]) from None
    except yaml.YAMLError:
        raise ConfigError(source, ["the file must be printable YAML text"]) from None
    except ValueError:  # an impossible date
        raise ConfigError(
            source, ["the file has a value that YAML cannot express, such as an impossible date"]
        ) from None
    return [document for document in documents if document is not None]


def load(text: str, source: str) -> Any:  # noqa: ANN401 - whatever the file says; models give it a type
    """The one document of a YAML text; None when it is empty.

    Raises:
        ConfigError: also when there is more than one document.
    """
    documents = load_all(text, source)
    if len(documents) > 1:
        raise ConfigError(source, [f"expected one YAML document, found {len(documents)}; split the file"])
    return documents[0] if documents else None


def _refuse_shapes(text: str) -> None:
    """Walk the flat stream of events, which neither recurses nor unfolds, before anything is composed."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise _Refused("aliases are not accepted", event)
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            raise _Refused(f"nested over {MAX_DEPTH} levels deep", event)


def _explain(error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark
    place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    return f"{place}{error.problem or 'not valid YAML'}"

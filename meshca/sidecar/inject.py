"""Adds the sidecar to the workloads of manifests: text in, text out, everything else byte for byte as it was.

YAML stays YAML, with its comments, and JSON stays JSON. Either every workload is injected or nothing is given:
a stream of which half is injected would start half a mesh.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from meshca.errors import ConfigError
from meshca.sidecar import inject_object, manifest_text
from meshca.sidecar.inject_object import Done, Fault, Report
from meshca.sidecar.inject_settings import Settings
from meshca.sidecar.manifest_edit import rewrite, same
from meshca.sidecar.manifest_layout import NotEditable
from meshca.sidecar.manifest_text import Node

_MARK: Final = "\ufeff"  # byte order mark


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifests:
    """The text of one file.

    Attributes:
        source: its name, for messages.
        text: what is in it.
    """

    source: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Injected:
    """Manifests with their sidecars.

    Attributes:
        text: what to apply.
        reports: one for each workload.
    """

    text: str
    reports: tuple[Report, ...]


def inject(manifests: Manifests, settings: Settings) -> Injected:
    """The manifests of a file with every workload injected.

    Raises:
        ConfigError: with every problem: its line, document, workload and field.
    """
    marked = manifests.text.startswith(_MARK)
    text = manifests.text.removeprefix(_MARK)
    injected = _json(text, manifests.source, settings) if _is_json(text) else None
    injected = injected or _yaml(text, manifests.source, settings)
    return Injected(text=_MARK * marked + injected.text, reports=injected.reports)


def joined(texts: Sequence[str]) -> str:
    """Several files as one stream; a single one as it is."""
    whole = "".join(texts[:1])
    for text in texts[1:]:
        begins = re.match(r"(?:[ \t]*(?:#[^\n]*)?\n)*---(?:\s|\Z)", text)
        whole += ("" if whole.endswith("\n") else "\n") + ("" if begins else "---\n") + text.removeprefix(_MARK)
    return whole


def _yaml(text: str, source: str, settings: Settings) -> Injected:
    documents = manifest_text.parse(text, source)
    done = [inject_object.inject(node.value, settings) for node in documents]
    faults = [
        _said(fault, documents[number], number + 1) for number, each in enumerate(done) for fault in each.faults
    ]
    changed = {
        number: each.value
        for number, (node, each) in enumerate(zip(documents, done, strict=True))
        if not same(node.value, each.value)
    }
    faults += [
        f"line {line}: document {number + 1}: a key stands twice in one mapping; remove one of them"
        for number in changed
        for line in documents[number].doubled
    ]
    if faults:
        raise ConfigError(source, faults)
    try:
        edited = rewrite(text, documents, changed) if changed else text
    except NotEditable as error:
        raise ConfigError(source, [f"line {error.line}: {error.problem}"]) from None
    return Injected(text=edited, reports=_reports(done))


def _reports(done: Sequence[Done]) -> tuple[Report, ...]:
    return tuple(report for each in done for report in each.reports)


def _said(fault: Fault, document: Node, number: int) -> str:
    return f"line {document.line_of(*fault.problem.path)}: document {number}, {_what(fault)}"


def _what(fault: Fault) -> str:
    path = ""
    for step in fault.problem.path:
        path += (
            f"[{step}]"
            if isinstance(step, int)
            else f".{step}"
            if step.replace("-", "").isalnum()
            else f"[{step}]"
        )
    return f"{fault.workload}: {path.removeprefix('.')}: {fault.problem.text}"


def _is_json(text: str) -> bool:
    return text.lstrip().startswith("{")


def _json(text: str, source: str, settings: Settings) -> Injected | None:
    """The same for one JSON document; None when it is not JSON after all."""
    try:
        value = json.loads(text, object_pairs_hook=_once)
    except _Twice as twice:
        raise ConfigError(source, [f"the key {twice.args[0]!r} stands twice in one object; remove one"]) from None
    except (ValueError, RecursionError):
        return None
    done = inject_object.inject(value, settings)
    if done.faults:
        raise ConfigError(source, _placed(text, done.faults))
    if same(value, done.value):
        return Injected(text=text, reports=done.reports)
    written = json.dumps(done.value, indent=_indent(text), ensure_ascii=text.isascii())
    return Injected(text=written + ("\n" if text.endswith("\n") else ""), reports=done.reports)


def _placed(text: str, faults: Sequence[Fault]) -> list[str]:
    """The faults with their lines, when the JSON reads as YAML, as nearly all does."""
    try:
        [document] = manifest_text.parse(text, "")
    except ConfigError:
        return list(map(_what, faults))
    return [_said(fault, document, 1) for fault in faults]


class _Twice(Exception):
    """A key that stands twice in one object."""


def _once(pairs: list[tuple[str, Any]]) -> Mapping[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _Twice(next(key for key in keys if keys.count(key) > 1))
    return found


def _indent(text: str) -> int | str | None:
    """How the document is indented: by so many blanks, by tabs, or not at all."""
    match = re.match(r"\s*\{[ \t]*\r?\n([ \t]+)", text)
    return match[1] if match else None

"""From the text of an admission rule file to a rule set, or to the list of all that is wrong with it.

Strict: unknown and duplicate keys, aliases, empty lists and values that can not match are refused, each with
its line. A text that parses is complete: there is no half-valid rule set.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib import resources
from typing import Final

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from meshca.admission.file import GrantEntry, MatchEntry, RuleEntry, RuleFile
from meshca.admission.model import SEEN, Match, Pattern, Rule, RuleSet, Terms
from meshca.config import strict_yaml
from meshca.errors import ConfigError
from meshca.identity.spiffe_id import TrustDomain

SHIPPED: Final = "the rules shipped with meshca"
# pydantic's words for what our readers would not understand
_WORDS: Final = {
    "missing": "is missing; add it",
    "extra_forbidden": "unknown key; remove it or correct its spelling",
    "string_type": "expected text; put it in quotes",
    "tuple_type": "expected a list",
    "bool_type": "expected true or false",
    "model_type": "expected keys, such as `name: value`; write {} for none",
}


def parse(text: str, source: str, trust_domain: TrustDomain) -> RuleSet:
    """The rule set that a file describes.

    Args:
        text: the file's content.
        source: its name, for messages.
        trust_domain: our own; rules that speak of another one are refused.

    Raises:
        ConfigError: with every problem, its path and its line.
    """
    tree = strict_yaml.load(text, source)
    try:
        file = RuleFile.model_validate(tree, context={"trust_domain": trust_domain})
    except ValidationError as error:
        root = yaml.compose(text, Loader=yaml.CSafeLoader)
        raise ConfigError(source, [_explain(detail, root) for detail in error.errors()]) from None
    return RuleSet(
        trust_domain=trust_domain,
        rules=tuple(_rule(entry) for entry in file.rules),
        version=hashlib.sha256(text.encode()).hexdigest(),
    )


def shipped(trust_domain: TrustDomain) -> RuleSet:
    """The rules for those who give none: a pod-bound caller of the issuer `home` has its own identity."""
    return parse(shipped_text(), SHIPPED, trust_domain)


def shipped_text() -> str:
    """The text of those rules, the same as policies/admission/default.yaml."""
    return resources.files("meshca.admission").joinpath("default.yaml").read_text(encoding="utf-8")


def _rule(entry: RuleEntry) -> Rule:
    return Rule(name=entry.name, match=_match(entry.match), terms=_terms(entry.grant) if entry.grant else None)


def _match(entry: MatchEntry) -> Match:
    given = ((key, getattr(entry, key)) for key in SEEN)
    return Match(
        patterns=tuple((key, tuple(Pattern(str(value)) for value in values)) for key, values in given if values),
        pod_bound=entry.pod_bound,
    )


def _terms(entry: GrantEntry) -> Terms:
    return Terms(
        identities=None if entry.identity is None else frozenset(entry.identity),
        max_lifetime=entry.max_lifetime,
        key_types=frozenset(entry.key_types),
    )


def _explain(detail: ErrorDetails, root: yaml.Node | None) -> str:
    message = _WORDS.get(detail["type"], detail["msg"].removeprefix("Value error, "))
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in detail["loc"])
    place = path.removeprefix(".") or "the file"
    return f"line {_line(root, detail['loc'])}: {place}: {message[:1].lower()}{message[1:]}"


def _line(root: yaml.Node | None, path: Sequence[int | str]) -> int:
    """The line, from 1, of the deepest node on a path that exists."""
    line, node = 1, root
    for part in path:
        found = next((child for child in _children(node) if child[0] == part), None)
        if found is None:
            break
        line, node = found[1].start_mark.line + 1, found[2]
    return line


def _children(node: yaml.Node | None) -> list[tuple[int | str, yaml.Node, yaml.Node]]:
    """Key or index, the node that begins it, and its value, of what is directly below."""
    below = node.value if isinstance(node, yaml.CollectionNode) else ()
    if isinstance(node, yaml.MappingNode):
        return [(key.value, key, value) for key, value in below]
    return [(index, value, value) for index, value in enumerate(below)]

"""Reads files of AuthorizationPolicy objects into a `PolicySet`; refuses whatever it does not fully understand.

The whole set or nothing: one problem in one file refuses all, so that a set is never half in force. Every
problem is listed, with file and field. A file without a policy is refused too: it may be one that is just
being written, and dropping its policies would open what they close.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from meshca.authz.fields import MAX_ITEMS, Place, Problems, Shape, items, mapping, text
from meshca.authz.model import ROOT_NAMESPACE, Action, Policy, PolicySet, Rule
from meshca.authz.parse_rule import rule
from meshca.config import strict_yaml
from meshca.errors import BadRequest, ConfigError
from meshca.identity.service_account import ServiceAccount

SOURCE = "authorization policies"
API_VERSION = "security.istio.io/v1"
KIND = "AuthorizationPolicy"
# Of all files; what fits into a few ConfigMaps. Parsing a MiB that changed takes 0.6 s, in the parent and then in
# the workers.
MAX_TOTAL_BYTES = 8 * 1024 * 1024
MAX_VALUES = 20_000  # that can hold for one workload: its filter must fit into one gRPC message of 4 MiB
MAX_PROBLEMS = 100  # listed; the rest is counted

_OBJECT = Shape(known=frozenset({"apiVersion", "kind", "metadata", "spec"}), later=frozenset({"status"}))
_METADATA = Shape(known=frozenset({"name", "namespace", "labels", "annotations"}))
_SPEC = Shape(
    known=frozenset({"selector", "action", "rules"}),
    later=frozenset({"provider", "targetRef", "targetRefs"}),
)
_SELECTOR = Shape(known=frozenset({"matchLabels"}))
_ACTIONS = tuple(action.value for action in Action)
_LATER_ACTIONS = ("AUDIT", "CUSTOM")
# Kubernetes labels: an optional DNS prefix and a name, and a value (k8s.io/apimachinery util/validation).
_NAME = r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
_LABEL_KEY = re.compile(rf"([a-z0-9]([a-z0-9.-]{{0,251}}[a-z0-9])?/)?{_NAME}")
_LABEL_VALUE = re.compile(rf"({_NAME})?")
_ISTIO = re.compile(r"([a-z0-9.-]+\.)?istio\.io/.*", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedFile:
    """A good file.

    Attributes:
        content: its text.
        found: its policies, and where each stands.
    """

    content: str = field(repr=False)
    found: tuple[tuple[Policy, Place], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedFiles:
    """A good set of files.

    Attributes:
        policies: of all of them.
        files: by name.
    """

    policies: PolicySet = field(default_factory=PolicySet)
    files: Mapping[str, ParsedFile] = field(default_factory=dict)


def parse_files(files: Mapping[str, str], root_namespace: str = ROOT_NAMESPACE) -> PolicySet:
    """The policies of all files, as one set.

    Args:
        files: content of each file by its name, as it shall appear in messages.
        root_namespace: whose policies hold in every namespace.

    Raises:
        ConfigError: with every problem of every file.
    """
    return parse_changed(files, root_namespace, ParsedFiles()).policies


def parse_changed(files: Mapping[str, str], root_namespace: str, before: ParsedFiles) -> ParsedFiles:
    """As `parse_files`, but a file that is as it was before is not parsed again: an edit costs what it changes.

    Raises:
        ConfigError: as `parse_files`.
    """
    problems = Problems()
    if sum(len(content) for content in files.values()) > MAX_TOTAL_BYTES:
        raise ConfigError(SOURCE, [f"all files together must be at most {MAX_TOTAL_BYTES} bytes"])
    found: dict[tuple[str, str], tuple[Policy, Place]] = {}
    parsed: dict[str, ParsedFile] = {}
    for file, content in sorted(files.items()):
        known = before.files.get(file)
        parsed[file] = known if known and known.content == content else _file(file, content, problems)
        for policy, place in parsed[file].found:
            _keep(policy, place, found, problems)
    policies = tuple(policy for policy, _ in found.values())
    problems.found += _too_many(policies, root_namespace)
    if problems.found:
        raise ConfigError(SOURCE, _listed(problems.found))
    return ParsedFiles(policies=PolicySet(policies=policies, root_namespace=root_namespace), files=parsed)


def _file(file: str, content: str, problems: Problems) -> ParsedFile:
    found = tuple(
        (_policy(document, place, problems), place)
        for document, place in _documents(file, content, problems)
        if _is_policy(document, place, problems)
    )
    return ParsedFile(content=content, found=found)


def _documents(file: str, content: str, problems: Problems) -> list[tuple[object, Place]]:
    try:
        documents = strict_yaml.load_all(content, file)
    except ConfigError as error:
        problems.found += [f"{file}: {problem}" for problem in error.problems]
        return []
    if not documents:
        problems.add(Place(file), "holds no policy; write one, or delete the file")
    if len(documents) == 1:
        return [(documents[0], Place(file))]
    return [(document, Place(f"{file} (document {index})")) for index, document in enumerate(documents, 1)]


def _keep(
    policy: Policy, place: Place, found: dict[tuple[str, str], tuple[Policy, Place]], problems: Problems
) -> None:
    key = (policy.namespace, policy.name)
    if all(key) and key in found:
        problems.add(
            place.at("metadata"),
            f"policy {policy.namespace}/{policy.name} is already in {found[key][1]}; rename or remove one",
        )
    found.setdefault(key, (policy, place))


def _is_policy(document: object, place: Place, problems: Problems) -> bool:
    """Whether a document says that it is what we read; only then its fields mean anything."""
    if not isinstance(document, dict):
        problems.add(place, f"expected a mapping of kind {KIND}")
        return False
    fits = True
    for key, wanted in (("apiVersion", API_VERSION), ("kind", KIND)):
        if document.get(key) != wanted:
            what = "not supported yet" if document.get(key) else "is missing"
            problems.add(place.at(key), f"{what}; expected {wanted}")
            fits = False
    return fits


def _policy(document: object, place: Place, problems: Problems) -> Policy:
    fields = mapping(document, _OBJECT, place, problems)
    namespace, name = _metadata(fields.get("metadata"), place.at("metadata"), problems)
    if "spec" not in fields:
        problems.add(place.at("spec"), "is missing; write spec: {} for a policy that allows nothing")
    spec = mapping(fields.get("spec", {}), _SPEC, place.at("spec"), problems)
    action = _action(spec.get("action", Action.ALLOW.value), place.at("spec").at("action"), problems)
    rules = _rules(spec.get("rules", []), place.at("spec").at("rules"), problems)
    if action is Action.DENY and not rules:
        problems.add(place.at("spec").at("rules"), "a DENY policy needs rules; without any it never denies")
    return Policy(
        namespace=namespace,
        name=name,
        action=action,
        selector=_selector(spec.get("selector", {}), place.at("spec").at("selector"), problems),
        rules=rules,
    )


def _metadata(value: object, place: Place, problems: Problems) -> tuple[str, str]:
    fields = mapping(value, _METADATA, place, problems)
    namespace = text(fields.get("namespace"), place.at("namespace"), problems)
    name = text(fields.get("name"), place.at("name"), problems)
    if namespace and name:
        # A policy's name and namespace obey the rules of a service account's: DNS-1123 subdomain and label.
        try:
            ServiceAccount(namespace=namespace, name=name)
        except BadRequest:
            problems.add(place, "name must be a DNS-1123 subdomain and namespace a DNS-1123 label")
            namespace = name = ""
    for key in ("labels", "annotations"):
        for note in _notes(fields.get(key, {}), place.at(key), problems):
            if _ISTIO.fullmatch(note):
                problems.add(place.at(key), "keys of istio.io change what a policy does and are not supported yet")
    return namespace, name


def _notes(value: object, place: Place, problems: Problems) -> list[str]:
    """The keys of labels or annotations, which mean nothing to us."""
    if not isinstance(value, dict):
        problems.add(place, "expected a mapping of strings")
        return []
    for key, item in value.items():
        text(item, place.at(repr(key[:64])), problems)
    return list(value)


def _action(value: object, place: Place, problems: Problems) -> Action:
    if value in _LATER_ACTIONS:
        problems.add(place, "not supported yet; expected ALLOW or DENY")
    elif value not in _ACTIONS:
        problems.add(place, "expected ALLOW or DENY, in capitals")
    return Action.DENY if value == "DENY" else Action.ALLOW


def _rules(value: object, place: Place, problems: Problems) -> tuple[Rule, ...]:
    listed = items(value, place, problems, may_be_empty=True)
    return tuple(rule(item, place.at(index), problems) for index, item in enumerate(listed))


def _selector(value: object, place: Place, problems: Problems) -> dict[str, str]:
    fields = mapping(value, _SELECTOR, place, problems)
    labels = fields.get("matchLabels", {})
    where = place.at("matchLabels")
    if not isinstance(labels, dict):
        problems.add(where, "expected a mapping of labels")
        return {}
    if len(labels) > MAX_ITEMS:
        problems.add(where, f"at most {MAX_ITEMS} labels")
        return {}
    selector: dict[str, str] = {}
    for key, label in sorted(labels.items()):
        selector[key] = text(label, where.at(repr(key[:64])), problems)
        if not _LABEL_KEY.fullmatch(key) or not _LABEL_VALUE.fullmatch(selector[key]):
            problems.add(where.at(repr(key[:64])), "no workload can have this label; stars do not work here")
    return selector


def _too_many(policies: Iterable[Policy], root_namespace: str) -> list[str]:
    """A line for each namespace whose workloads would get more values than one filter can carry."""
    values: Counter[str] = Counter()
    for policy in policies:
        values[policy.namespace] += sum(_values(item) for item in policy.rules)
    everywhere = values.pop(root_namespace, 0)
    return [
        f"namespace {namespace}: {count + everywhere} values hold there, at most {MAX_VALUES}; use fewer"
        for namespace, count in sorted((values or {root_namespace: 0}).items())
        if count + everywhere > MAX_VALUES
    ]


def _values(found: Rule) -> int:
    sources = sum(len(source.principals) + len(source.namespaces) for source in found.sources)
    return sources + sum(len(operation.methods) + len(operation.paths) for operation in found.operations)


def _listed(found: list[str]) -> list[str]:
    more = len(found) - MAX_PROBLEMS
    return [*found[:MAX_PROBLEMS], f"and {more} more"] if more > 0 else found

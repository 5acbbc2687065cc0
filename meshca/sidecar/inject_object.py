"""Finds the pod of a Kubernetes object and injects it there; every other object stays what it is. Pure."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from meshca.errors import BadRequest
from meshca.identity.service_account import ServiceAccount
from meshca.sidecar import inject_pod
from meshca.sidecar.inject_refusal import DECLINE, Path, Problem, Refused
from meshca.sidecar.inject_settings import INJECTED, Settings, Sidecars

Tree = dict[str, Any]

# API group and kind -> where the pod is. An object of another group that happens to have such a kind is not ours.
KINDS: Final[Mapping[tuple[str, str], tuple[str, ...]]] = {
    ("", "Pod"): (),
    ("", "ReplicationController"): ("spec", "template"),
    ("apps", "Deployment"): ("spec", "template"),
    ("apps", "StatefulSet"): ("spec", "template"),
    ("apps", "DaemonSet"): ("spec", "template"),
    ("apps", "ReplicaSet"): ("spec", "template"),
    ("batch", "Job"): ("spec", "template"),
    ("batch", "CronJob"): ("spec", "jobTemplate", "spec", "template"),
}
_ENDING: Final = {"Job", "CronJob"}


class Outcome(enum.StrEnum):
    """What became of a workload."""

    INJECTED = "injected"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    DECLINED = "declined"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One workload and what became of it.

    Attributes:
        workload: `Deployment shop/web`.
        outcome: what was done.
    """

    workload: str
    outcome: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What is in the way in one workload; its path begins at the document."""

    workload: str
    problem: Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A document after injection.

    Attributes:
        value: the document; the same object when nothing changed.
        reports: one for each workload in it.
        faults: what is in the way; the value means nothing then.
    """

    value: Any
    reports: tuple[Report, ...] = ()
    faults: tuple[Fault, ...] = ()


def inject(document: Any, settings: Settings, path: Path = ()) -> Done:  # noqa: ANN401 - any document
    """A document with its workloads injected, those of a `kind: List` too."""
    group_kind = _group_kind(document)
    if group_kind == ("", "List") and isinstance(document.get("items"), list):
        each = [inject(item, settings, (*path, "items", number)) for number, item in enumerate(document["items"])]
        return Done(
            value=document | {"items": [done.value for done in each]},
            reports=tuple(report for done in each for report in done.reports),
            faults=tuple(fault for done in each for fault in done.faults),
        )
    if group_kind not in KINDS:
        return Done(value=document)
    where = KINDS[group_kind]
    namespace, name = _naming(document, settings)
    workload = f"{group_kind[1]} {namespace}/{name}"
    try:
        new, outcome = _injected(document, group_kind[1], where, namespace, settings)
    except Refused as refused:
        faults = [Problem((*path, *each.path), each.text) for each in refused.problems]
        return Done(value=document, faults=tuple(Fault(workload=workload, problem=each) for each in faults))
    return Done(value=new, reports=(Report(workload=workload, outcome=outcome),))


def _injected(
    document: Tree, kind: str, where: tuple[str, ...], namespace: str, settings: Settings
) -> tuple[Tree, Outcome]:
    pod = _at(document, where)
    fault = _fault(kind, where, namespace, settings)
    try:
        # A wrong namespace is told below, and of its object.
        new = inject_pod.inject(pod, "default" if fault else namespace, settings)
    except Refused as refused:
        raise Refused([Problem((*where, *each.path), each.text) for each in refused.problems]) from None
    if new is None:
        return document, Outcome.DECLINED
    if fault:
        raise Refused([fault])
    if new == pod:
        return document, Outcome.UNCHANGED
    before = INJECTED in ((pod.get("metadata") or {}).get("annotations") or {})
    return _put(document, where, new), Outcome.UPDATED if before else Outcome.INJECTED


def _fault(kind: str, where: Path, namespace: str, settings: Settings) -> Problem | None:
    """What is in the way in the whole object."""
    if kind in _ENDING and settings.sidecars is Sidecars.PLAIN:
        text = f"plain sidecars would run on when the {kind} has ended; use native ones, or {DECLINE}"
        return Problem((*where, "spec", "containers"), text)
    try:
        ServiceAccount(namespace=namespace, name="default")
    except BadRequest as error:
        return Problem(("metadata", "namespace"), error.detail)
    return None


def _group_kind(document: Any) -> tuple[str, str]:  # noqa: ANN401 - any document
    if not isinstance(document, dict):
        return "", ""
    version, kind = document.get("apiVersion"), document.get("kind")
    if not isinstance(version, str) or not isinstance(kind, str):
        return "", ""
    return version.rpartition("/")[0], kind


def _naming(document: Tree, settings: Settings) -> tuple[str, str]:
    """Namespace and name; a generated name ends in a star."""
    found = document.get("metadata")
    metadata = found if isinstance(found, dict) else {}
    generated = metadata.get("generateName")
    name = metadata.get("name") or (f"{generated}*" if generated else "(no name)")
    return str(metadata.get("namespace") or settings.namespace), str(name)


def _at(document: Tree, where: Sequence[str]) -> Tree:
    found = document
    for number, step in enumerate(where):
        below = found.get(step)
        if not isinstance(below, dict):
            text = "expected a mapping with the pod's template in it"
            raise Refused([Problem(tuple(where[: number + 1]), text)])
        found = below
    return found


def _put(document: Tree, where: Sequence[str], new: Tree) -> Tree:
    """A copy of the document with another value at a place."""
    if not where:
        return new
    return document | {where[0]: _put(document[where[0]], where[1:], new)}

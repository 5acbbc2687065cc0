"""What keeps a pod from being injected, each with its place in the object. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from meshca.errors import BadRequest
from meshca.identity.service_account import ServiceAccount
from meshca.sidecar import inject_parts as parts
from meshca.sidecar.inject_settings import INBOUND, INJECT, INJECTED, OUTBOUND, Ports

Tree = dict[str, Any]
Path = tuple[str | int, ...]
ANNOTATIONS: Final[Path] = ("metadata", "annotations")
DECLINE: Final = f'set {INJECT}: "false" on it'
_LISTS: Final = ("containers", "initContainers", "ephemeralContainers")


@dataclass(frozen=True, slots=True)
class Problem:
    """What is in the way, and where in the object."""

    path: Path
    text: str


class Refused(Exception):
    """An object that cannot be injected.

    Attributes:
        problems: every one.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(problems)
        self.problems = tuple(dict.fromkeys(problems))


def misshapen(pod: Tree) -> Iterator[Problem]:
    """Where a pod has not the form that Kubernetes gives it, as far as we look."""
    metadata, spec = pod.get("metadata") or {}, pod.get("spec")
    if not isinstance(metadata, dict):
        yield Problem(("metadata",), "expected a mapping")
    elif not isinstance(metadata.get("annotations") or {}, dict):
        yield Problem(ANNOTATIONS, "expected a mapping")
    if not isinstance(spec, dict):
        yield Problem(("spec",), "expected a mapping with the pod's containers")
        return
    for key in (*_LISTS, "volumes"):
        value = spec.get(key) or []
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            yield Problem(("spec", key), "expected a list of mappings")
    if not spec.get("containers"):
        yield Problem(("spec", "containers"), "expected at least one container")


def in_the_way(spec: Tree, opened: Ports, *, ours: bool) -> Iterator[Problem]:
    """What a well-formed pod has that a sidecar cannot live with.

    Args:
        spec: of the pod.
        opened: what its Envoy would open.
        ours: whether it was injected before, so that things with our names are ours.
    """
    if spec.get("hostNetwork"):
        told = "the pod shares the node's network, where the sidecars of several pods would meet"
        yield Problem(("spec", "hostNetwork"), f"{told}: {DECLINE}")
    system = spec.get("os")
    if isinstance(system, dict) and system.get("name", "linux") != "linux":
        yield Problem(("spec", "os", "name"), f"the sidecar runs on Linux only: {DECLINE}")
    if not ours:
        yield from _taken(spec)
    yield from _twice(opened)
    yield from _meeting(spec, opened)
    if opened == Ports(inbound=(), outbound=()):
        yield Problem(ANNOTATIONS, _no_ports(spec))


def account_of(namespace: str, spec: Tree) -> ServiceAccount:
    """The pod's service account, under either of its names.

    Raises:
        Refused: it is no name.
    """
    key = "serviceAccountName" if spec.get("serviceAccountName") else "serviceAccount"
    try:
        return ServiceAccount(namespace=namespace, name=str(spec.get(key) or "default"))
    except BadRequest as error:
        raise Refused([Problem(("spec", key), error.detail)]) from None


def _taken(spec: Tree) -> Iterator[Problem]:
    """Names of ours that the pod uses itself."""
    for key, names in (*((key, parts.CONTAINERS) for key in _LISTS), ("volumes", parts.VOLUMES)):
        for number, item in enumerate(spec.get(key) or []):
            if item.get("name") in names:
                what = "volume" if key == "volumes" else "container"
                text = f"a {what} of this name is there without {INJECTED}, so it is not ours; rename or remove it"
                yield Problem(("spec", key, number, "name"), text)


def _twice(opened: Ports) -> Iterator[Problem]:
    """Ports of Envoy that meet each other, or what the sidecar opens besides."""
    listening = _listening(opened)
    for key, port in listening:
        if port == 0:
            yield Problem((*ANNOTATIONS, key), "a port must be above 0")
        elif port in parts.OUR_PORTS:
            yield Problem((*ANNOTATIONS, key), f"port {port} is the sidecar's own; choose another")
        elif sum(port == other for _, other in listening) > 1:
            yield Problem((*ANNOTATIONS, key), f"port {port} is given twice")
    ports = {port for _, port in listening}
    for item in opened.inbound:
        if item.app_port in (*ports, *parts.OUR_PORTS):
            text = f"port {item.app_port} cannot be the application's and the sidecar's; choose another for Envoy"
            yield Problem((*ANNOTATIONS, INBOUND), text)


def _meeting(spec: Tree, opened: Ports) -> Iterator[Problem]:
    """Ports that a container declares and the sidecar opens."""
    ports = {port for _, port in _listening(opened)} | set(parts.OUR_PORTS)
    for key in ("containers", "initContainers"):
        for number, container in enumerate(spec.get(key) or []):
            if container.get("name") in parts.CONTAINERS:
                continue
            for index, port in enumerate(_declared(container)):
                if port in ports:
                    text = f"port {port} is the sidecar's; move the application, or choose another for Envoy"
                    yield Problem(("spec", key, number, "ports", index, "containerPort"), text)


def _listening(opened: Ports) -> list[tuple[str, int]]:
    """Annotation and port of all that Envoy listens on."""
    return [
        *((INBOUND, item.port) for item in opened.inbound),
        *((OUTBOUND, item.listen_port) for item in opened.outbound),
    ]


def _declared(container: Tree) -> list[Any]:
    """The ports that a container says it opens, in their order; None for what is no TCP port."""
    found = container.get("ports") or []
    if not isinstance(found, list):
        return []
    tcp = [isinstance(port, dict) and port.get("protocol", "TCP") == "TCP" for port in found]
    return [port.get("containerPort") if is_tcp else None for port, is_tcp in zip(found, tcp, strict=True)]


def _no_ports(spec: Tree) -> str:
    declared = [port for container in spec["containers"] for port in _declared(container) if port]
    example = f'{INBOUND}: "8443:{declared[0] if declared else 8080}"'
    return (
        f"the workload names no ports: set {example} (a port for peers, and the application's behind it) or "
        f"{OUTBOUND}, give --inbound or --outbound for all, or {DECLINE}"
    )

"""Adds the sidecar to one pod: its annotations and its spec in, new ones out, or all that is in the way. Pure.

A pod that was injected before gets exactly what it would get today, so that doing it twice is doing it once.
Nothing of the pod's own is changed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from meshca.errors import BadRequest
from meshca.identity.service_account import ServiceAccount
from meshca.identity.spiffe_id import SpiffeId
from meshca.sidecar import bootstrap
from meshca.sidecar import inject_parts as parts
from meshca.sidecar.inject_refusal import ANNOTATIONS, Problem, Refused, account_of, in_the_way, misshapen
from meshca.sidecar.inject_settings import (
    BOOTSTRAP,
    INJECT,
    INJECTED,
    Ports,
    Settings,
    Sidecars,
    Wishes,
    is_wanted,
    ports,
    unknown,
    wishes,
)
from meshca.sidecar.manifest_render import in_lines
from meshca.sidecar.service import DEFAULT_AGENT_SOCKET, AdminPort, AgentSocket, ReadyPage, ServiceBootstrap

Tree = dict[str, Any]
_LARGEST_BOOTSTRAP: Final = 128 * 1024  # bytes; all annotations of an object may have 256 KiB (Kubernetes' limit)
_IMAGE_USER: Final = 65532  # of both default images


def inject(pod: Tree, namespace: str, settings: Settings) -> Tree | None:
    """A pod (or a pod's template) with the sidecar, None when it declines.

    Args:
        pod: with `metadata` and `spec`.
        namespace: of the object that it belongs to.
        settings: what every pod gets.

    Raises:
        Refused: with everything that is in the way.
    """
    if problems := list(misshapen(pod)):
        raise Refused(problems)
    metadata, spec = pod.get("metadata") or {}, pod["spec"]
    annotations = metadata.get("annotations") or {}
    try:
        if not is_wanted(annotations):
            return None
    except BadRequest as error:
        raise Refused([Problem((*ANNOTATIONS, INJECT), error.detail)]) from None
    chosen, opened = _chosen(annotations, spec, settings)
    account = account_of(namespace, spec)
    noted = annotations | {INJECTED: _record(settings, chosen), BOOTSTRAP: _bootstrap(account, opened, settings)}
    made = parts.containers(settings, account, opened, _user(spec, settings))
    new: Tree = {"metadata": metadata | {"annotations": noted}, "spec": _with(spec, made, settings)}
    return ({} if "metadata" in pod else {"metadata": {}}) | pod | new


def _chosen(annotations: Tree, spec: Tree, settings: Settings) -> tuple[Wishes, Ports]:
    """The ports of a pod, when nothing is in their way."""
    chosen, wrong = wishes(annotations, settings.defaults)
    opened, faults = ports(chosen, settings.listen_address)
    said = [
        *((key, f"no such annotation; did you mean {near}") for key, near in unknown(annotations).items()),
        *wrong.items(),
        *((key, text) for key, found in faults.items() for text in found),
    ]
    problems = [Problem((*ANNOTATIONS, key), text) for key, text in said]
    if not problems:  # ports that cannot be read are not missing
        problems += in_the_way(spec, opened, ours=INJECTED in annotations)
    if problems:
        raise Refused(problems)
    return chosen, opened


def _user(spec: Tree, settings: Settings) -> int | None:
    """The user of our containers: as asked for, and never root because the rest of the pod is."""
    if settings.run_as_user is not None:
        return settings.run_as_user
    context = spec.get("securityContext")
    is_root = isinstance(context, dict) and context.get("runAsUser") == 0
    return _IMAGE_USER if is_root else None


def _record(settings: Settings, chosen: Wishes) -> str:
    """What was injected, for those who look at the pod later."""
    return json.dumps(
        {
            "version": settings.version,
            "sidecars": settings.sidecars.value,
            "trustDomain": settings.trust_domain.name,
            "inbound": list(chosen.inbound),
            "outbound": list(chosen.outbound),
        },
        separators=(",", ":"),
    )


def _bootstrap(account: ServiceAccount, opened: Ports, settings: Settings) -> str:
    service = ServiceBootstrap(
        identity=SpiffeId.of(settings.trust_domain, account),
        source=AgentSocket(path=DEFAULT_AGENT_SOCKET),
        inbound=opened.inbound,
        outbound=opened.outbound,
        admin=AdminPort(port=parts.ADMIN_PORT),
        ready=ReadyPage(port=parts.ENVOY_READY_PORT, address=settings.listen_address),
        max_connection_age=settings.max_connection_age,
    )
    text = in_lines(bootstrap.build(service))
    if len(text.encode()) > _LARGEST_BOOTSTRAP:
        raise Refused([Problem(ANNOTATIONS, "so many ports need more than an annotation holds; name fewer")])
    return text


def _with(spec: Tree, made: list[Tree], settings: Settings) -> Tree:
    """The spec with our containers and volumes, where they were or where they belong."""
    native = settings.sidecars is Sidecars.NATIVE
    placed = {
        "initContainers": _placed(
            spec.get("initContainers"), parts.CONTAINERS, made if native else [], at_front=True
        ),
        "containers": _placed(spec.get("containers"), parts.CONTAINERS, [] if native else made),
        "volumes": _placed(spec.get("volumes"), parts.VOLUMES, parts.volumes(settings)),
    }
    new = {}
    for key, value in spec.items():
        if key == "containers" and "initContainers" not in spec and placed["initContainers"]:
            new["initContainers"] = placed["initContainers"]
        if placed.get(key):
            new[key] = placed[key]
        elif key not in placed or not value:  # a list that only we needed goes
            new[key] = value
    return new if "volumes" in new else new | {"volumes": placed["volumes"]}


def _placed(
    there: list[Tree] | None, names: Sequence[str], made: list[Tree], *, at_front: bool = False
) -> list[Tree]:
    """A list with our things: where the first of them was, else at its front or end."""
    before = there or []
    kept = [item for item in before if item.get("name") not in names]
    ours = [number for number, item in enumerate(before) if item.get("name") in names]
    place = ours[0] if ours else 0 if at_front else len(kept)
    return [*kept[:place], *made, *kept[place:]]

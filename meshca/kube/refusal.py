"""What an API server's refusal says beyond its status code.

Its message is free text that may quote names and bodies, so nothing of it is repeated as it stands: only the
permission that it names is read out, word by word, in the spelling that RBAC uses.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import orjson

_NAME: Final = r"[a-z0-9.-]{1,253}"
# authorizer's and the signer checks' own sentences (k8s.io/apiserver responsewriters, plugin/pkg/admission).
_DENIED: Final = re.compile(
    rf'cannot ([a-z]{{1,32}}) resource "([a-z0-9/.-]{{1,253}})" in API group "({_NAME}|)"'
    rf'(?: in the namespace "({_NAME})")?'
)
_SIGNER: Final = re.compile(rf'not permitted to ([a-z]{{1,32}}) for signerName "({_NAME}/{_NAME})"')


_VERBS: Final = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


def resource_of(path: str) -> str:
    """The resource of an API path as RBAC spells it: `pods/status in shop`, `leases.coordination.k8s.io`."""
    group, namespace, rest = _parts(path)
    name = f"{rest[0]}.{group}" if group and rest else (rest[0] if rest else path)
    if len(rest) > 2:
        name += f"/{rest[2]}"
    return f"{name} in {namespace}" if namespace else name


def verb_of(method: str, path: str) -> str:
    """As RBAC calls it: to get a collection is to list it."""
    return "list" if method == "GET" and len(_parts(path)[2]) == 1 else _VERBS[method]


def _parts(path: str) -> tuple[str, str, list[str]]:
    """Group, namespace, and the rest: resource, name, subresource."""
    parts = path.strip("/").split("/")
    group, rest = ("", parts[2:]) if parts[0] == "api" else (parts[1] if len(parts) > 1 else "", parts[3:])
    if len(rest) > 2 and rest[0] == "namespaces":
        return group, rest[1], rest[2:]
    return group, "", rest


def missing_permission(answer: bytes) -> str | None:
    """The verb and the resource that a 403 names, as `create configmaps in shop`; None when it names none."""
    message = _status(answer).get("message")
    if not isinstance(message, str):
        return None
    if denied := _DENIED.search(message):
        verb, resource, group, namespace = denied.groups()
        place = f" in {namespace}" if namespace else ""
        return f"{verb} {f'{resource}.{group}' if group else resource}{place}"
    if signer := _SIGNER.search(message):
        return f"{signer[1]} signers.certificates.k8s.io named {signer[2]}"
    return None


def reason_of(answer: bytes) -> str:
    """The machine's word for a refusal (metav1.Status.reason); never its message, which may quote a body."""
    try:
        reason = orjson.loads(answer).get("reason")
    except (orjson.JSONDecodeError, AttributeError):
        return "no reason given"
    return reason if isinstance(reason, str) and reason.isascii() and len(reason) < 64 else "no reason given"


def is_terminating(answer: bytes) -> bool:
    """Whether the namespace takes nothing new because it is being deleted."""
    return "NamespaceTerminating" in _causes(answer)


def is_too_long(answer: bytes) -> bool:
    """Whether the object would be larger than its kind may be (a ConfigMap: 1 MiB)."""
    return "FieldValueTooLong" in _causes(answer)


def _causes(answer: bytes) -> list[object]:
    details = _status(answer).get("details")
    causes = details.get("causes") if isinstance(details, dict) else None
    return [one.get("reason") for one in causes or () if isinstance(one, dict)]


def _status(answer: bytes) -> Mapping[str, Any]:
    try:
        status = orjson.loads(answer)
    except orjson.JSONDecodeError:
        return {}
    return status if isinstance(status, dict) else {}

"""One thing that RBAC may allow, in words, as a question to the API server, and as the command that grants it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from meshca.errors import BadRequest
from meshca.identity.service_account import ServiceAccount

_NO_RESOURCE: Final = frozenset({"signers"})  # kubectl knows only what can be listed


@dataclass(frozen=True, slots=True, kw_only=True)
class Permission:
    """A verb on a resource, or on a path of the API server.

    Attributes:
        verb: as RBAC spells it.
        resource: plural, with its subresource after a slash; empty for a path.
        group: its API group; empty for the core.
        namespace: where; empty for the whole cluster.
        name: of the one object; empty for all.
        path: for what is no resource, such as /openid/v1/jwks.
        value: the value of our chart that brings it along.
    """

    verb: str
    resource: str = ""
    group: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""
    value: str = ""

    def __str__(self) -> str:
        if self.path:
            return f"{self.verb} {self.path}"
        what = f"{self.verb} {self.kind}" + (f" {self.name}" if self.name else "")
        return f"{what} in {self.namespace}" if self.namespace else f"{what} in the whole cluster"

    @property
    def kind(self) -> str:
        """The resource with its group, as kubectl takes it: `leases.coordination.k8s.io`."""
        plural, slash, sub = self.resource.partition("/")
        return (f"{plural}.{self.group}" if self.group else plural) + slash + sub

    def at(self, namespace: str) -> Permission:
        """The same in a namespace."""
        return replace(self, namespace=namespace)

    def question(self) -> Mapping[str, Any]:
        """The `spec` of a SelfSubjectAccessReview."""
        if self.path:
            return {"nonResourceAttributes": {"verb": self.verb, "path": self.path}}
        plural, _, sub = self.resource.partition("/")
        asked = {
            "verb": self.verb,
            "group": self.group,
            "resource": plural,
            "subresource": sub,
            "namespace": self.namespace,
            "name": self.name,
        }
        return {"resourceAttributes": {key: value for key, value in asked.items() if value or key == "group"}}


def grant(permission: Permission, subject: str) -> str:
    """A shell command that grants it; empty when there is none and only a manifest can.

    Args:
        permission: what.
        subject: whom, as `subject_of` writes them.
    """
    if permission.resource in _NO_RESOURCE:
        return ""
    parts = ("meshca", permission.verb, permission.resource or permission.path.strip("./"), permission.name)
    name = "-".join(re.sub("[^a-z0-9.-]", "-", part) for part in parts if part)
    kind, place = ("role", f" -n {permission.namespace}") if permission.namespace else ("clusterrole", "")
    what = f"--non-resource-url={permission.path}" if permission.path else f"--resource={permission.kind}"
    only = f" --resource-name={permission.name}" if permission.name else ""
    return (
        f"kubectl create {kind} {name} --verb={permission.verb} {what}{only}{place}"
        f" && kubectl create {kind}binding {name} --{kind}={name} {subject}{place}"
    )


def subject_of(username: str) -> str:
    """A user as `kubectl create rolebinding` takes it."""
    account = account_of(username)
    return f"--serviceaccount={account.namespace}:{account.name}" if account else f"--user={shlex.quote(username)}"


def account_of(username: str) -> ServiceAccount | None:
    """The service account that a user name of the API server means, if it is one's."""
    try:
        return ServiceAccount.parse_username(username)
    except BadRequest:
        return None

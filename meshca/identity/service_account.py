"""Kubernetes service accounts: the names that a workload's identity is made of."""

from __future__ import annotations

import re
from dataclasses import dataclass

from meshca.errors import BadRequest

# RFC 1123 names as Kubernetes uses them: a namespace is a label of at most 63 characters, a service
# account a subdomain of at most 253 (k8s.io/apimachinery util/validation).
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
_MAX_SUBDOMAIN = 253
_USERNAME = "system:serviceaccount:"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceAccount:
    """A namespace and a service account name in it.

    Raises:
        BadRequest: reason `service_account`, when either is not a DNS-1123 name.
    """

    namespace: str
    name: str

    def __post_init__(self) -> None:
        if not _LABEL.fullmatch(self.namespace):
            raise BadRequest("service_account", "the namespace must be a DNS-1123 label of at most 63 characters")
        if len(self.name) > _MAX_SUBDOMAIN or not _SUBDOMAIN.fullmatch(self.name):
            raise BadRequest(
                "service_account",
                "the service account must be a DNS-1123 subdomain of at most 253 characters",
            )

    @classmethod
    def parse_username(cls, unverified: str) -> ServiceAccount:
        """Read `system:serviceaccount:<namespace>:<name>`: exactly four parts.

        Raises:
            BadRequest: reason `service_account`.
        """
        if not unverified.startswith(_USERNAME) or unverified.count(":") != 3:
            raise BadRequest("service_account", "expected exactly system:serviceaccount:<namespace>:<name>")
        _, _, namespace, name = unverified.split(":")
        return cls(namespace=namespace, name=name)

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"

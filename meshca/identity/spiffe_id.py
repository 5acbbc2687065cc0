"""SPIFFE IDs, parsed strictly and once (SPIFFE-ID.md; rules ID1-ID11 of docs/spiffe-rules.md).

One spelling per identity: upper case in the trust domain, percent-encoding, empty or dot segments and a
trailing slash are refused, never normalised. CVE-2021-27099 was a normalised path.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from meshca.errors import BadRequest
from meshca.identity.service_account import ServiceAccount

SCHEME = "spiffe://"
MAX_ID_BYTES = 2048  # SPIFFE-ID.md section 2.3
MAX_TRUST_DOMAIN_BYTES = 255  # SPIFFE-ID.md section 2.3
_TRUST_DOMAIN = re.compile(r"[a-z0-9._-]+")
_SEGMENT = re.compile(r"[a-zA-Z0-9._-]+")


@dataclass(frozen=True, slots=True)
class TrustDomain:
    """The name of a trust domain, such as `cluster.local`.

    A name that looks like an IPv4 address is legal and means nothing special (rule ID6).

    Raises:
        BadRequest: reason `spiffe_id`, when the name is empty, too long or has a forbidden character.
    """

    name: str

    def __post_init__(self) -> None:
        if not _TRUST_DOMAIN.fullmatch(self.name):
            raise BadRequest(
                "spiffe_id",
                "trust domain must be one or more of a-z 0-9 . - _ (lower case, no port, no user)",
            )
        if len(self.name) > MAX_TRUST_DOMAIN_BYTES:
            raise BadRequest("spiffe_id", f"trust domain must be at most {MAX_TRUST_DOMAIN_BYTES} bytes")

    @property
    def id(self) -> str:
        """`spiffe://<name>`: names the signing authority, never a workload (rule ID11)."""
        return SCHEME + self.name

    @classmethod
    def parse(cls, unverified: str) -> TrustDomain:
        """Read `spiffe://<name>`, without a path and without a slash; `parse(x.id) == x`.

        Raises:
            BadRequest: reason `spiffe_id`.
        """
        if not unverified.startswith(SCHEME):
            raise BadRequest("spiffe_id", "a trust domain's id must begin with spiffe://")
        return cls(unverified[len(SCHEME) :])

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class SpiffeId:
    """The SPIFFE ID of a workload: a trust domain and a non-empty path that begins with a slash.

    Raises:
        BadRequest: reason `spiffe_id`, when the path breaks a rule or the whole is over 2048 bytes.
    """

    trust_domain: TrustDomain
    path: str

    def __post_init__(self) -> None:
        if not self.path.startswith("/"):
            raise BadRequest("spiffe_id", "the path of a workload's SPIFFE ID must not be empty")
        for segment in self.path[1:].split("/"):
            if not _SEGMENT.fullmatch(segment) or segment in {".", ".."}:
                raise BadRequest(
                    "spiffe_id",
                    "each path segment of a SPIFFE ID must be one or more of a-z A-Z 0-9 . - _ and not . or ..",
                )
        if len(self.trust_domain.id) + len(self.path) > MAX_ID_BYTES:
            raise BadRequest("spiffe_id", f"a SPIFFE ID must be at most {MAX_ID_BYTES} bytes")

    @classmethod
    def parse(cls, unverified: str) -> SpiffeId:
        """Read the URI of a workload; `parse(str(x)) == x`.

        Raises:
            BadRequest: reason `spiffe_id`.
        """
        if not unverified.startswith(SCHEME):
            raise BadRequest("spiffe_id", "a SPIFFE ID must begin with spiffe://")
        authority, slash, path = unverified[len(SCHEME) :].partition("/")
        return cls(TrustDomain(authority), slash + path)

    @classmethod
    def of(cls, trust_domain: TrustDomain, account: ServiceAccount) -> SpiffeId:
        """`spiffe://<td>/ns/<namespace>/sa/<service account>`, the one form that we issue."""
        return cls(trust_domain, f"/ns/{account.namespace}/sa/{account.name}")

    def service_account(self) -> ServiceAccount:
        """The service account that this ID stands for.

        Raises:
            BadRequest: reason `spiffe_id`, when the path is not /ns/<namespace>/sa/<service account>.
        """
        parts = self.path.split("/")
        if len(parts) != 5 or parts[1] != "ns" or parts[3] != "sa":
            raise BadRequest("spiffe_id", "the path must be /ns/<namespace>/sa/<service account>")
        return ServiceAccount(namespace=parts[2], name=parts[4])

    def __str__(self) -> str:
        return self.trust_domain.id + self.path

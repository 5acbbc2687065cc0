"""A caller, before (`Credential`) and after (`Caller`) it is proven.

Only `authn` makes a `Caller`. Nothing in a `Credential` may be believed.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType

from meshca.identity.service_account import ServiceAccount
from meshca.identity.spiffe_id import SpiffeId, TrustDomain
from meshca.secret import Secret

NO_LABELS: Mapping[str, str] = MappingProxyType({})


class ProvenBy(enum.StrEnum):
    """How a caller was proven; a label in the ledger, in metrics and in admission rules."""

    JWKS = "jwks"
    TOKEN_REVIEW = "token_review"  # noqa: S105 - a way of proving, not a password
    CLIENT_CERT = "client_cert"
    NODE_PROXY = "node_proxy"  # a workload for whom a proven proxy of its node asks


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """What a caller shows of itself; unverified.

    Attributes:
        unverified_token: the bearer token, without its scheme; None when none was sent.
        peer_certificate: PEM of the leaf that the TLS handshake verified against our roots; None on the
            token port. The chain was checked at the handshake only, so its validity is checked again.
        cluster: the `clusterid` header, empty when absent.
    """

    unverified_token: Secret[str] | None = None
    peer_certificate: bytes | None = field(default=None, repr=False)
    cluster: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundObject:
    """A pod or node that the proof is bound to."""

    name: str
    uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who is calling, how that was proven, and until when the proof holds.

    Attributes:
        account: the service account that the caller runs as.
        proven_by: which authenticator proved it now.
        issuer: our configured name of the issuer whose token began this chain of proofs.
        pod: the pod that the proof is bound to, None when unbound.
        node: the node of that pod, when the proof names it.
        token_id: `jti` / credential id of the token that began the chain, empty when it has none.
        proven_at: when a token last proved this caller; renewals by certificate inherit it.
        until: when the proof that was shown now ends (token `exp`, certificate NotAfter).
        labels: workload labels from proven data only.
        serial: lower-case hexadecimal serial of the certificate shown, empty for a token.
    """

    account: ServiceAccount
    proven_by: ProvenBy
    issuer: str
    pod: BoundObject | None
    node: BoundObject | None
    token_id: str
    proven_at: datetime
    until: datetime
    labels: Mapping[str, str] = field(default_factory=lambda: NO_LABELS)
    serial: str = ""

    def identity(self, trust_domain: TrustDomain) -> SpiffeId:
        """The caller's own identity in our trust domain."""
        return SpiffeId.of(trust_domain, self.account)

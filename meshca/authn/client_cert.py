"""Renewal without a token: the still valid certificate that we issued proves its holder.

A certificate carries no pod and no issuer, so both are inherited from our record of its issuance, found by
serial. The chain of renewals must go back to a token that is not too old: a stolen key must not renew for ever.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from meshca.authn.chain import NO_CREDENTIAL
from meshca.authn.leaf import Leaf, read_leaf
from meshca.clock import Clock
from meshca.errors import BadRequest, Unauthenticated
from meshca.identity.caller import NO_LABELS, BoundObject, Caller, Credential, ProvenBy
from meshca.identity.service_account import ServiceAccount
from meshca.identity.spiffe_id import SpiffeId, TrustDomain


@dataclass(frozen=True, slots=True, kw_only=True)
class Ancestor:
    """What was proven when a certificate was issued, as our own records say.

    Attributes:
        identity: the SPIFFE ID that was issued; a certificate with this serial and another one is forged.
        key_sha256: of the key that was certified (SubjectPublicKeyInfo, DER), lower-case hexadecimal; another one
            is forged, such as by a stolen intermediate under a root that is still trusted.
        not_after: when that certificate ends; one that ends at another time is forged.
        issuer: our configured name of the token's issuer.
        pod: the pod that the token was bound to, None when unbound.
        node: the node of that pod, when the token named it.
        token_id: `jti` of the token that began the chain of renewals, empty when it has none.
        proven_at: when a token last proved this chain; renewals hand it on unchanged.
        labels: workload labels from that proof.
        requested_by: the node proxy that asked for the certificate and holds its key; empty for the workload
            itself.
    """

    identity: SpiffeId
    key_sha256: str
    not_after: datetime
    issuer: str
    pod: BoundObject | None
    node: BoundObject | None
    token_id: str
    proven_at: datetime
    labels: Mapping[str, str] = field(default_factory=lambda: NO_LABELS)
    requested_by: str = ""


class Lineage(Protocol):
    """Our records of issuance, asked by serial."""

    async def of(self, serial: str) -> Ancestor:
        """What was proven when the certificate with this serial was issued.

        Args:
            serial: lower-case hexadecimal, without leading zeros.

        Raises:
            Unauthenticated: reason `unknown_serial`, when we did not issue it or have no record any more.
            Unavailable: the records can not be read now.
        """
        ...


class ClientCertAuthenticator:
    """Proves callers by the certificate of the TLS connection."""

    name = "client_cert"

    def __init__(
        self, *, trust_domain: TrustDomain, lineage: Lineage, clock: Clock, max_lineage_age: timedelta
    ) -> None:
        self._trust_domain = trust_domain
        self._lineage = lineage
        self._clock = clock
        self._max_lineage_age = max_lineage_age

    async def prove(self, credential: Credential) -> Caller:
        """The caller that a certificate proves, valid now and descended from a token that is young enough.

        Raises:
            Unauthenticated: reason `no_credential`, one of `cert_malformed`, `cert_expired`,
                `cert_not_yet_valid`, `cert_profile`, `cert_uri`, `cert_trust_domain`, or `unknown_serial`,
                `lineage_mismatch`, `held_by_node_proxy`, `lineage_too_old`.
            Unavailable: the records can not be read now.
        """
        if credential.peer_certificate is None:
            raise Unauthenticated(NO_CREDENTIAL, "no client certificate was shown")
        leaf = read_leaf(credential.peer_certificate)
        now = self._clock.now()
        leaf.check_valid(now)
        account = self._account(leaf)
        ancestor = await self._lineage.of(leaf.serial)
        _check_same(leaf, ancestor)
        if ancestor.requested_by:
            # Its pod may have left the node since; only the proxy's own token and the pods there can say.
            raise Unauthenticated(
                "held_by_node_proxy", f"{ancestor.requested_by} asked for it, and must ask again"
            )
        if now - ancestor.proven_at > self._max_lineage_age:
            raise Unauthenticated("lineage_too_old", f"a token last proved it at {ancestor.proven_at.isoformat()}")
        return Caller(
            account=account,
            proven_by=ProvenBy.CLIENT_CERT,
            issuer=ancestor.issuer,
            pod=ancestor.pod,
            node=ancestor.node,
            token_id=ancestor.token_id,
            proven_at=ancestor.proven_at,
            until=leaf.not_after,
            labels=ancestor.labels,
            serial=leaf.serial,
        )

    def _account(self, leaf: Leaf) -> ServiceAccount:
        if leaf.identity.trust_domain != self._trust_domain:
            raise Unauthenticated("cert_trust_domain", f"expected a certificate of {self._trust_domain}")
        try:
            return leaf.identity.service_account()
        except BadRequest as error:
            raise Unauthenticated("cert_uri", error.detail) from None


def _check_same(leaf: Leaf, ancestor: Ancestor) -> None:
    """The certificate shown is the one that we issued, as far as our record knows it."""
    if ancestor.identity != leaf.identity:
        raise Unauthenticated("lineage_mismatch", "our record of this serial names another identity")
    if ancestor.key_sha256 != leaf.key_sha256:
        raise Unauthenticated("lineage_mismatch", "our record of this serial names another key")
    if ancestor.not_after != leaf.not_after:
        raise Unauthenticated("lineage_mismatch", "our record of this serial names another end")

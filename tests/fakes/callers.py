"""Callers as authn would make them, for the tests of everything behind it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from meshca.identity.caller import BoundObject, Caller, ProvenBy
from meshca.identity.service_account import ServiceAccount

NOW = datetime(2026, 1, 1, tzinfo=UTC)
POD = BoundObject(name="web-7d4b9-x2x1z", uid="6d2a3f0e-0000-4000-8000-00000000beef")
NODE = BoundObject(name="node-1", uid="0f9d8c7b-0000-4000-8000-000000000001")


def caller(
    namespace: str = "shop",
    name: str = "web",
    *,
    proven_by: ProvenBy = ProvenBy.JWKS,
    issuer: str = "home",
    pod: BoundObject | None = POD,
    node: BoundObject | None = NODE,
    token_id: str = "a3b1",  # noqa: S107 - the id of a token, not the token
    proven_at: datetime = NOW,
    until: datetime = NOW + timedelta(hours=1),
    serial: str = "",
) -> Caller:
    """A pod-bound caller of the issuer `home`, unless told otherwise."""
    return Caller(
        account=ServiceAccount(namespace=namespace, name=name),
        proven_by=proven_by,
        issuer=issuer,
        pod=pod,
        node=node,
        token_id=token_id,
        proven_at=proven_at,
        until=until,
        serial=serial,
    )

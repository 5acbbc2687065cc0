"""Which records are asked for. `matches` says what a query means; a store must answer exactly so."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from meshca.errors import BadRequest
from meshca.ledger.record import Issuance, Result

DEFAULT_LIMIT: Final = 100
MAX_LIMIT: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Filters that must all hold; None asks for anything. Answers come newest first.

    Attributes:
        spiffe_id: the whole identity.
        namespace: of the service account.
        pod: a pod's name or uid.
        node: a node's name or uid.
        issuer: our configured name of the token's issuer.
        result: issued, failed or unknown.
        since: recorded at this instant or later.
        until: recorded before this instant.
        limit: at most this many, 1 to 10,000.

    Raises:
        BadRequest: reasons `limit` and `time_range`.
    """

    spiffe_id: str | None = None
    namespace: str | None = None
    pod: str | None = None
    node: str | None = None
    issuer: str | None = None
    result: Result | None = None
    since: datetime | None = None
    until: datetime | None = None
    limit: int = DEFAULT_LIMIT

    def __post_init__(self) -> None:
        if not 1 <= self.limit <= MAX_LIMIT:
            raise BadRequest("limit", f"limit must be 1 to {MAX_LIMIT}")
        if self.since and self.until and self.since >= self.until:
            raise BadRequest("time_range", "since must be before until")

    def matches(self, issuance: Issuance) -> bool:
        """Whether a record is asked for, its place in the order and the limit left aside."""
        intent = issuance.intent
        return (
            self.spiffe_id in {None, intent.spiffe_id}
            and self.namespace in {None, intent.namespace}
            and self.pod in {None, intent.pod_name, intent.pod_uid}
            and self.node in {None, intent.node_name, intent.node_uid}
            and self.issuer in {None, intent.issuer}
            and self.result in {None, issuance.result}
            and (self.since is None or intent.intended_at >= self.since)
            and (self.until is None or intent.intended_at < self.until)
        )

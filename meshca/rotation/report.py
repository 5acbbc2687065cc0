"""How the roots stand, for `meshca root status` and its RPC: everything an administrator asks before a step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from meshca.authority.fleet import Workload
from meshca.authority.gate import Gate, Straggler
from meshca.authority.history import Plan, Record


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorityReport:
    """A root or an intermediate.

    Attributes:
        record: what is kept of it.
        subject: of its certificate, RFC 4514.
        not_before, not_after: of its certificate.
        trusted_by: how many live workloads trust it; 0 for an intermediate.
        leaves: how many live workloads hold leaves below it.
        last_leaf_ends: when the last of those leaves ends; None when there is none.
    """

    record: Record
    subject: str
    not_before: datetime
    not_after: datetime
    trusted_by: int = 0
    leaves: int = 0
    last_leaf_ends: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetReport:
    """The workloads that count.

    Attributes:
        seen: how many.
        acknowledged, delivered, none: how many of them by whose word the newest bundle is theirs.
        seen_since: who was not seen since then does not count.
        oldest_seen: when the one of them that was silent longest was seen; None without any.
    """

    seen: int
    acknowledged: int
    delivered: int
    none: int
    seen_since: datetime
    oldest_seen: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RootReport:
    """How the roots stand.

    Attributes:
        generation: of the state that this was made from.
        sequence, bundle_version: of the bundle in force.
        authorities: roots first, oldest first; those retired longest ago are left out.
        fleet: who counts; None when the store cannot be read now, which closes every gate.
        plan: the rotation that is under way, or None.
        next_step: in words, what happens next and what it waits for.
        gate: of that step; None when there is no next step.
        warnings: in plain words, what ends soon and what then happens.
        driven_by: which replica takes steps; empty when nobody does.
    """

    generation: int
    sequence: int
    bundle_version: str
    authorities: tuple[AuthorityReport, ...]
    fleet: FleetReport | None
    plan: Plan | None = None
    next_step: str = ""
    gate: Gate | None = None
    warnings: tuple[str, ...] = ()
    driven_by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastStep:
    """A step that would be taken.

    Attributes:
        says: in words, with when it is expected at the earliest.
        holders: who would hold it up now; names and why.
        unnamed: how many more.
    """

    says: str
    holders: tuple[Straggler, ...] = ()
    unnamed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What an act would do if it were done now, up to its end; nothing was done.

    Attributes:
        steps: what is left to do.
        losers: who would break if nothing changes; names and why.
        unnamed: how many more.
        plan: the rotation that is under way; None when there is none.
        closed: why the act would be refused now, with who would break; empty when it would be done.
    """

    steps: tuple[ForecastStep, ...]
    losers: tuple[Straggler, ...] = ()
    unnamed: int = 0
    plan: Plan | None = None
    closed: str = ""

    @property
    def breaks(self) -> int:
        """How many would break."""
        return len(self.losers) + self.unnamed

    @property
    def names(self) -> frozenset[str]:
        """Who of them is named, as an approver says back who they were shown."""
        return frozenset(self.by_name)

    @property
    def by_name(self) -> Mapping[str, Workload]:
        """The same with who that is; a name is as raw as its pod's, so it is compared and never printed."""
        return {
            f"{one.identity} in {one.pod or 'no pod'}": one for one in (loser.workload for loser in self.losers)
        }

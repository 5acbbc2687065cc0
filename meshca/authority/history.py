"""What is kept of every root and intermediate, of the bundles that were given out, and of who asked for what.

One `Lifecycle` is the whole state. It is replaced as a whole, by whoever saw the newest: a generation is written
once, so of two administrators one wins and the other is told. Private keys are never part of it.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

from meshca.authority.lifecycle import TRUSTED, Act, State

MAX_BUNDLES: Final = 64  # bundles that are remembered; an agent that holds an older one counts as trusting nothing


class Kind(enum.StrEnum):
    """What an authority is."""

    ROOT = "root"
    INTERMEDIATE = "intermediate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A root or an intermediate, and where it stands.

    Attributes:
        id: lower-case hexadecimal SHA-256 of the certificate's DER; of an intermediate what the ledger calls the
            signer.
        kind: what it is.
        state: where it stands.
        pem: the certificate.
        parent: the root below which an intermediate is; empty for a root.
        since: when it came into its state.
        trusted_since: when a bundle with it was first given out; None before, and for intermediates.
        replica: which replica signs by an intermediate; empty for a root.
    """

    id: str
    kind: Kind
    state: State
    pem: str
    parent: str = ""
    since: datetime
    trusted_since: datetime | None = None
    replica: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A set of roots as it was given out.

    Attributes:
        sequence: rises by one with every change (SPIFFE_Trust_Domain_and_Bundle.md, `spiffe_sequence`).
        version: the content version that subscribers acknowledge.
        roots: ids of the roots in it.
        at: when it was first given out.
    """

    sequence: int
    version: str
    roots: tuple[str, ...]
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A rotation of the root that is under way.

    Attributes:
        old, new: ids of the roots.
        automatic: whether steps are taken as soon as their gates are open.
        paused: whether no step is taken by itself now.
        compromised: whether the old root's key is not ours alone.
        window: within which leaves below a tainted root are replaced; zero is at once.
        tainted_at: when the window began; None before.
        started_at: when it was asked for.
        by, reason: who asked, and why.
        urgent_by: who said later that the key is not ours alone; empty when that was said as it began, or never.
    """

    old: str
    new: str
    automatic: bool
    paused: bool = False
    compromised: bool = False
    window: timedelta
    tainted_at: datetime | None = None
    started_at: datetime
    by: str
    reason: str = ""
    urgent_by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A dangerous act that waits for a second person.

    Attributes:
        id: what the second person says to approve it.
        act: the name of the RPC.
        body: its message, serialized.
        says: what it would do, in words.
        by, reason: who asked, and why.
        at, until: when, and until when it can be approved.
        breaks: how many workloads it would have broken when it was asked for.
        urgent: whether a key is stolen, so that it has room whatever else waits.
        root: id of the root that it is about.
    """

    id: str
    act: str
    body: bytes
    says: str
    by: str
    reason: str
    at: datetime
    until: datetime
    breaks: int = 0
    urgent: bool = False
    root: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifecycle:
    """Everything, as of one generation; `EMPTY` before the first.

    Attributes:
        generation: rises by one with every commit.
        records: roots and intermediates, those in no use any more included, oldest first.
        bundles: the newest last, at most `MAX_BUNDLES`.
        plan: None when the root is not being rotated.
        requests: what waits for a second person.
    """

    generation: int = 0
    records: tuple[Record, ...] = ()
    bundles: tuple[Bundle, ...] = ()
    plan: Plan | None = None
    requests: tuple[Request, ...] = ()

    def of(self, kind: Kind, *states: State) -> tuple[Record, ...]:
        """The records of a kind in these states, oldest first; in any state when none is named."""
        return tuple(one for one in self.records if one.kind is kind and (not states or one.state in states))

    @property
    def trusted(self) -> tuple[Record, ...]:
        """The roots that are in the bundle now, oldest first."""
        return self.of(Kind.ROOT, *TRUSTED)

    @property
    def active_root(self) -> Record | None:
        """The root below which is signed; None before the first."""
        return next(iter(self.of(Kind.ROOT, State.ACTIVE)), None)

    def find(self, id_: str) -> Record | None:
        """The record of this id."""
        return next((one for one in self.records if one.id == id_), None)


EMPTY: Final = Lifecycle()


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One transition, kept for ever.

    Attributes:
        generation: of the commit that it was part of.
        authority: the id of the root or intermediate.
        kind: what that is.
        act: what was done; `made` for one that is new.
        before: its state before; None for one that is new.
        after: its state since.
        guard: what was found of what the act waits for, in words, with the names of whoever was not ready, if it
            was done all the same (`gate.Gate.told`); of what goes below a root it is said with the root only.
        forced: whether it was done although the guard did not hold.
        by, reason: who asked, and why; `by` is `meshca` for what is done by itself.
        at: when.
    """

    generation: int
    authority: str
    kind: Kind
    act: Act | None
    before: State | None
    after: State
    guard: str = ""
    forced: bool = False
    by: str
    reason: str = ""
    at: datetime


class LifecycleStore(Protocol):
    """Keeps the newest `Lifecycle` and every `Change`, for all replicas."""

    async def load(self) -> Lifecycle:
        """The newest; `EMPTY` before the first commit.

        Raises:
            Unavailable: reason `store`, when it cannot be read now.
            InvariantBroken: reason `lifecycle`, when what is stored is damaged.
        """
        ...

    async def commit(self, lifecycle: Lifecycle, changes: Sequence[Change]) -> None:
        """Put a generation in the place of the one before; durable when this returns, all of it or nothing.

        Raises:
            Conflict: reason `generation`, when the stored generation is not the one before this.
            Unavailable: reason `store`, when it cannot be written now.
            InvariantBroken: reason `lifecycle`, when a change names another generation than the commit.
        """
        ...

    async def changes(self, limit: int) -> Sequence[Change]:
        """The newest changes, newest first; of one commit the last one first. None for a limit below one.

        Raises:
            Unavailable: reason `store`, when it cannot be read now.
            InvariantBroken: reason `lifecycle`, when what is stored is damaged.
        """
        ...

    async def changed(self, generation: int) -> None:
        """Return when the store may hold another generation than this; early returns are allowed.

        Never raises: while the store is out of reach it waits, and looks again.
        """
        ...

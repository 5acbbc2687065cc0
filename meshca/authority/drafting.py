"""A commit while it is being made: records, changes and bundles that stay in step with each other.

Every transition goes through the table here and leaves a `Change`; a bundle follows when the trusted set is
another. It decides nothing: `planning` and `intermediates` say which acts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from meshca.authority.history import MAX_BUNDLES, Bundle, Change, Kind, Lifecycle, Plan, Record, Request
from meshca.authority.lifecycle import TRUSTED, Act, State, step
from meshca.errors import InvariantBroken, NotFound

OURSELVES: Final = "meshca"  # who does what nobody asked for
MAX_RETIRED: Final = 32  # records of a kind that are kept after they were retired, the newest

Planned = tuple[Lifecycle, tuple[Change, ...]]
Version = Callable[[str], str]
"""Gives the content version of a bundle's text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """Who asked for a commit, why, and what was found of its guard; as in `Change`.

    Attributes:
        request: what waited for a second person and is done by it, so that it waits no more; None for nothing.
    """

    by: str
    reason: str = ""
    guard: str = ""
    forced: bool = False
    at: datetime
    request: Request | None = None


def bundle_text(roots: Iterable[Record]) -> str:
    """PEM of roots in the order of the records, each once."""
    return "".join(dict.fromkeys(root.pem for root in roots))


class Draft:
    """The next generation of a lifecycle.

    Args:
        lifecycle: the one before.
        cause: of every change.
    """

    def __init__(self, lifecycle: Lifecycle, cause: Cause) -> None:
        self._before = lifecycle
        self._cause = cause
        self._records = {one.id: one for one in lifecycle.records}
        self._changes: list[Change] = []
        self._plan = lifecycle.plan

    def record(self, authority: str) -> Record:
        """The record of an id.

        Raises:
            NotFound: reason `authority`.
        """
        found = self._records.get(authority)
        if found is None:
            raise NotFound("authority", f"there is no root or intermediate {authority}; see meshca root list")
        return found

    def possible(self, authority: str, act: Act) -> None:
        """Whether the table has an act.

        Raises:
            NotFound: reason `authority`.
            Refused: reason `transition`.
        """
        step(self.record(authority).state, act)

    def make(self, record: Record) -> None:
        """Add one that is new."""
        self._records[record.id] = record
        self._note(record, act=None, before=None)

    def act(self, authority: str, act: Act) -> None:
        """Take one from its state to the next.

        Raises:
            NotFound: reason `authority`.
            Refused: reason `transition`.
        """
        before = self.record(authority)
        after = replace(before, state=step(before.state, act).after, since=self._cause.at)
        if after.kind is Kind.ROOT and after.state in TRUSTED and after.trusted_since is None:
            after = replace(after, trusted_since=self._cause.at)
        self._records[authority] = after
        self._note(after, act=act, before=before.state)

    def signs_for(self, authority: str, replica: str) -> None:
        """Say which replica signs by an intermediate."""
        self._records[authority] = replace(self.record(authority), replica=replica)

    def end(self, authority: str) -> None:
        """Take an intermediate to its end from whichever state it is in."""
        state = self.record(authority).state
        if state is State.ACTIVE:
            self.act(authority, Act.SUPERSEDE)
        if state is not State.RETIRED:
            self.act(authority, Act.RETIRE)

    def drop_below(self, root: str) -> None:
        """End every intermediate below a root; what was found of the guard is said once, of the root."""
        self._cause = replace(self._cause, guard="")
        for authority in [one.id for one in self._records.values() if one.parent == root]:
            self.end(authority)

    def plan(self, plan: Plan | None, act: Act | None = None) -> None:
        """Put a plan in the place of the one before; an act is noted with the new root, whose state stays.

        Who makes it urgent, when it was not, is kept with it.
        """
        if plan is not None and self._plan is not None and plan.compromised is not self._plan.compromised:
            plan = replace(plan, urgent_by=self._cause.by if plan.compromised else "")
        self._plan = plan
        if plan is not None and act is not None:
            new = self.record(plan.new)
            self._note(new, act=act, before=new.state)

    def planned(self, version: Version | None = None) -> Planned:
        """The next generation with its changes; the same as before, without any, when nothing has changed.

        Args:
            version: gives a bundle's version; needed by acts that change the trusted set.

        Raises:
            InvariantBroken: reason `bundle_version`, when it was needed and not given.
        """
        waiting = tuple(one for one in self._before.requests if one != self._cause.request)
        records = tuple(self._records.values())
        whole = replace(self._before, records=records, plan=self._plan, requests=waiting)
        if whole == self._before:
            return self._before, ()
        generation = self._before.generation + 1
        after = replace(
            whole, generation=generation, records=_kept(whole.records), bundles=self._bundles(whole, version)
        )
        return after, tuple(self._changes)

    def _bundles(self, after: Lifecycle, version: Version | None) -> tuple[Bundle, ...]:
        roots = tuple(root.id for root in after.trusted)
        if set(roots) == {root.id for root in self._before.trusted}:
            return after.bundles
        if version is None:
            raise InvariantBroken(
                "bundle_version", "the trusted roots have changed, but nobody gives their version"
            )
        bundle = Bundle(
            sequence=after.bundles[-1].sequence + 1 if after.bundles else 1,
            version=version(bundle_text(after.trusted)),
            roots=roots,
            at=self._cause.at,
        )
        return (*after.bundles, bundle)[-MAX_BUNDLES:]

    def _note(self, record: Record, *, act: Act | None, before: State | None) -> None:
        cause = self._cause
        self._changes.append(
            Change(
                generation=self._before.generation + 1,
                authority=record.id,
                kind=record.kind,
                act=act,
                before=before,
                after=record.state,
                guard=cause.guard,
                forced=cause.forced,
                by=cause.by,
                reason=cause.reason,
                at=cause.at,
            )
        )


def _kept(records: tuple[Record, ...]) -> tuple[Record, ...]:
    """Without those that were retired longest ago."""
    dropped: set[str] = set()
    for kind in Kind:
        retired = [one for one in records if one.kind is kind and one.state is State.RETIRED]
        retired.sort(key=lambda one: one.since)
        dropped |= {one.id for one in retired[:-MAX_RETIRED]}
    return tuple(one for one in records if one.id not in dropped)

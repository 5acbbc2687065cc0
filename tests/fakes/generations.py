"""Lifecycles that follow from their number, so that whoever reads one can tell whether it is whole."""

from __future__ import annotations

from datetime import timedelta

from meshca.authority.history import Bundle, Change, Kind, Lifecycle, Plan, Record, Request
from meshca.authority.lifecycle import Act, State
from tests.fakes.records import NOW


def generation(number: int) -> Lifecycle:
    """The state of this number; its parts all say so."""
    at = NOW + timedelta(seconds=number)
    root = Record(
        id=f"root-{number}",
        kind=Kind.ROOT,
        state=State.ACTIVE,
        pem=f"pem-{number} " * (number % 50),
        since=at,
        trusted_since=at,
    )
    intermediate = Record(
        id=f"intermediate-{number}",
        kind=Kind.INTERMEDIATE,
        state=State.PREPARED,
        pem="pem",
        parent=root.id,
        since=at,
        replica="meshca-0",
    )
    return Lifecycle(
        generation=number,
        records=(root, intermediate),
        bundles=(Bundle(sequence=number, version=f"v{number}", roots=(root.id,), at=at),),
        plan=Plan(old=root.id, new="new", automatic=True, window=timedelta(minutes=5), started_at=at, by="uid 0"),
        requests=(Request(id="1", act="Retire", body=b"\xff\0", says="", by="a", reason="", at=at, until=at),),
    )


def changes_of(number: int) -> list[Change]:
    """One to three, of this generation."""
    return [change(number, reason=f"{number}.{ordinal}") for ordinal in range(1 + number % 3)]


def change(number: int, reason: str = "") -> Change:
    """A transition that was part of a generation."""
    return Change(
        generation=number,
        authority=f"root-{number}",
        kind=Kind.ROOT,
        act=Act.ACTIVATE,
        before=State.DISTRIBUTING,
        after=State.ACTIVE,
        guard="10 of 10 workloads trust it",
        forced=number % 2 == 0,
        by="spiffe://cluster.local/ns/mesh/sa/admin",
        reason=reason,
        at=NOW + timedelta(seconds=number),
    )


def newest_first(number: int) -> list[Change]:
    """Every change up to a generation, as a store gives them."""
    return [one for of in range(number, 0, -1) for one in reversed(changes_of(of))]

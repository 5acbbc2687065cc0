"""Values about roots for tests: records, plans, gates, reports."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from meshca.authority.fleet import Word, Workload
from meshca.authority.gate import Gate, Straggler
from meshca.authority.history import Bundle, Change, Kind, Plan, Record, Request
from meshca.authority.lifecycle import Act, State
from meshca.rotation.report import AuthorityReport, FleetReport, RootReport
from tests.fakes.pki import make_ca

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
OLD, NEW = "0a" * 32, "0b" * 32
PEM = make_ca("meshca root 1").pem
WEB = "spiffe://cluster.local/ns/shop/sa/web"
PAY = "spiffe://cluster.local/ns/pay/sa/card"


def record(**changes: Any) -> Record:
    """The old root, which signs."""
    usual = Record(id=OLD, kind=Kind.ROOT, state=State.ACTIVE, pem=PEM, since=NOW, trusted_since=NOW)
    return replace(usual, **changes)


def plan(**changes: Any) -> Plan:
    """From the old root to the new one."""
    usual = Plan(
        old=OLD, new=NEW, automatic=True, window=timedelta(minutes=5), started_at=NOW, by="uid 0", reason="yearly"
    )
    return replace(usual, **changes)


def straggler(**changes: Any) -> Straggler:
    """`shop/web`, which has not taken the new root."""
    usual = Workload(
        identity=WEB,
        pod="web-1",
        node="node-1",
        word=Word.ACKNOWLEDGED,
        trusts=frozenset({OLD}),
        given_at=NOW,
        signers=frozenset({OLD}),
        leaf_ends=NOW + HOUR,
        seen_at=NOW,
        connected=True,
        trouble="",
    )
    why = changes.pop("why", "does not trust the new root yet; restart its agent")
    return Straggler(workload=replace(usual, **changes), why=why)


def gate(**changes: Any) -> Gate:
    """Closed by one workload."""
    usual = Gate(open=False, ready=511, of=512, why="1 of 512 does not trust it", stragglers=(straggler(),))
    return replace(usual, **changes)


def change(**changes: Any) -> Change:
    """The new root was activated."""
    usual = Change(
        generation=3,
        authority=NEW,
        kind=Kind.ROOT,
        act=Act.ACTIVATE,
        before=State.DISTRIBUTING,
        after=State.ACTIVE,
        guard="all 512 trust it",
        by="uid 0",
        reason="yearly",
        at=NOW,
    )
    return replace(usual, **changes)


def request(**changes: Any) -> Request:
    """Somebody wants to retire the old root."""
    usual = Request(
        id="0123abcd",
        act="RetireRoot",
        body=b"",
        says=f"trust no more root {OLD[:16]}",
        by="uid 0",
        reason="yearly",
        at=NOW,
        until=NOW + timedelta(minutes=15),
        root=OLD,
    )
    return replace(usual, **changes)


def bundle(**changes: Any) -> Bundle:
    """Both roots."""
    return replace(Bundle(sequence=7, version="v7", roots=(OLD, NEW), at=NOW), **changes)


def authority(**changes: Any) -> AuthorityReport:
    """The old root, with leaves below it."""
    usual = AuthorityReport(
        record=record(),
        subject="CN=meshca root 1,O=cluster.local",
        not_before=NOW,
        not_after=NOW + 3650 * 24 * HOUR,
        trusted_by=512,
        leaves=512,
        last_leaf_ends=NOW + 24 * HOUR,
    )
    return replace(usual, **changes)


def root_report(**changes: Any) -> RootReport:
    """A rotation under way that waits for one workload."""
    new = record(id=NEW, state=State.DISTRIBUTING)
    usual = RootReport(
        generation=4,
        sequence=7,
        bundle_version="v" * 32,
        authorities=(
            authority(),
            authority(
                record=new,
                subject="CN=meshca root 2,O=cluster.local",
                trusted_by=511,
                leaves=0,
                last_leaf_ends=None,
            ),
        ),
        fleet=FleetReport(
            seen=512, acknowledged=500, delivered=11, none=1, seen_since=NOW - 24 * HOUR, oldest_seen=NOW - HOUR
        ),
        plan=plan(),
        next_step="sign below the new root; waits until every workload trusts it",
        gate=gate(),
        warnings=("root 0a0a ends in 30 days; then every leaf below it ends",),
        driven_by="replica-0",
    )
    return replace(usual, **changes)

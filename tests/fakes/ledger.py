"""The ledger's port over a dictionary."""

from __future__ import annotations

from datetime import datetime

from meshca.clock import Clock
from meshca.errors import Unavailable
from meshca.ledger.port import SerialReused
from meshca.ledger.query import Query
from meshca.ledger.record import Intent, Issuance, LiveLeaf, Outcome, Result


class FakeLedger:
    """Implements `meshca.ledger.port.LedgerStore`; `down` makes it unreachable."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.intents: dict[str, Intent] = {}
        self.outcomes: dict[str, Outcome] = {}
        self.down = False

    async def intend(self, intent: Intent) -> None:
        """Keep it."""
        self._check()
        if intent.serial in self.intents:
            raise SerialReused(intent.serial)
        self.intents[intent.serial] = intent

    def finish(self, outcome: Outcome) -> None:
        """Keep it, also while down."""
        if outcome.serial in self.intents:
            self.outcomes.setdefault(outcome.serial, outcome)

    async def find(self, serial: str) -> Issuance | None:
        """Look it up."""
        self._check()
        intent = self.intents.get(serial)
        return Issuance(intent=intent, outcome=self.outcomes.get(serial)) if intent else None

    async def query(self, query: Query) -> list[Issuance]:
        """Look at all."""
        self._check()
        every = [
            Issuance(intent=intent, outcome=self.outcomes.get(intent.serial)) for intent in self.intents.values()
        ]
        found = [issuance for issuance in every if query.matches(issuance)]
        found.sort(key=lambda issuance: (issuance.intent.intended_at, issuance.intent.serial), reverse=True)
        return found[: query.limit]

    async def live(self, now: datetime) -> list[LiveLeaf]:
        """Look at all."""
        self._check()
        found = [
            LiveLeaf(
                serial=one.serial,
                spiffe_id=one.spiffe_id,
                pod_name=one.pod_name,
                pod_uid=one.pod_uid,
                node_name=one.node_name,
                requested_by=one.requested_by,
                parent_serial=one.parent_serial,
                signer=one.signer,
                issued_at=one.intended_at,
                not_after=one.not_after,
            )
            for one in self.intents.values()
            if one.not_after >= now and not self._has_failed(one)
        ]
        return sorted(found, key=lambda leaf: (leaf.issued_at, leaf.serial))

    async def prune(self, before: datetime) -> int:
        """Forget."""
        self._check()
        now = self._clock.now()
        gone = [i.serial for i in self.intents.values() if i.intended_at < before and i.not_after < now]
        for serial in gone:
            del self.intents[serial]
            self.outcomes.pop(serial, None)
        return len(gone)

    def _has_failed(self, intent: Intent) -> bool:
        outcome = self.outcomes.get(intent.serial)
        return outcome is not None and outcome.result is Result.FAILED

    def _check(self) -> None:
        if self.down:
            raise Unavailable("store", "the fake is down")

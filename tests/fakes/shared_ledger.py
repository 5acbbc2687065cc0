"""A ledger that may be out of reach while its users run, over dictionaries."""

from __future__ import annotations

from collections.abc import Sequence

from meshca.clock import Clock
from meshca.errors import InvariantBroken
from meshca.ledger.record import Intent, Outcome
from tests.fakes.ledger import FakeLedger


class FakeSharedLedger(FakeLedger):
    """Implements `meshca.store.spool.ledger.SharedLedger`.

    Attributes:
        refused: serials that it will never take.
        restored: how many times something was brought.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.refused: set[str] = set()
        self.restored = 0

    async def restore(self, intents: Sequence[Intent], outcomes: Sequence[Outcome]) -> None:
        """Keep what is new."""
        self._check()
        if self.refused & {one.serial for one in intents}:
            raise InvariantBroken("store_value", "the fake takes no such serial")
        self.restored += bool(intents or outcomes)
        for intent in intents:
            self.intents.setdefault(intent.serial, intent)
        for outcome in outcomes:
            self.finish(outcome)

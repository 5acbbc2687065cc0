"""The ledger's store, as its users see it; `store` implements it."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from meshca.errors import InvariantBroken
from meshca.ledger.query import Query
from meshca.ledger.record import Intent, Issuance, LiveLeaf, Outcome


class SerialReused(InvariantBroken):
    """A serial is recorded already, for another intent.

    Attributes:
        serial: that one.
    """

    def __init__(self, serial: str, where: str = "is recorded") -> None:
        super().__init__("serial_reused", f"serial {serial} {where} already")
        self.serial = serial


class LedgerStore(Protocol):
    """Durable, ordered, append-only records of issuance."""

    async def intend(self, intent: Intent) -> None:
        """Record that a signature is about to be made; durable when this returns.

        Raises:
            Unavailable: reason `store`, when it cannot be written now; then nothing must be signed.
            SerialReused: the serial is already recorded; what becomes of this intent is not to be recorded.
        """
        ...

    def finish(self, outcome: Outcome) -> None:
        """Record what became of it, durable with the next group commit.

        For the process that recorded the intent. The first outcome of an intent counts; a later one is ignored,
        and so is that of an intent that was refused. It is kept and tried again while the store cannot be
        written.
        """
        ...

    async def find(self, serial: str) -> Issuance | None:
        """The record of a serial number, or None.

        Raises:
            Unavailable: reason `store`, when it cannot be read now.
        """
        ...

    async def query(self, query: Query) -> list[Issuance]:
        """Records, newest first (by the time of the intent, then by serial, both descending).

        Raises:
            Unavailable: reason `store`, when it cannot be read now.
        """
        ...

    async def live(self, now: datetime) -> list[LiveLeaf]:
        """Every certificate that has not ended at an instant (`validity.ended`), unless its signing failed.

        Oldest first (by the time of the intent, then by serial, both ascending). One without an outcome is
        among them: somebody may hold it. So are our own serving certificates, whose `spiffe_id` names the trust
        domain alone and no workload: rows are given as they are, who reads them decides.

        Raises:
            Unavailable: reason `store`, when it cannot be read now.
        """
        ...

    async def prune(self, before: datetime) -> int:
        """Remove records made before an instant whose certificates have ended, and say how many.

        A record whose certificate is still valid stays, however old: renewals need it.

        Raises:
            Unavailable: reason `store`, when it cannot be written now.
        """
        ...

"""The ledger's port with a spool behind it: while the store is out of reach, records go to this machine's disk.

What is there is brought to the store, in order, as soon as it is back; twice is no harm. Files of a process that
was killed are brought by any other of the same replica. Nothing is ever removed before the store has it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final, Protocol

from meshca import metrics
from meshca.clock import Clock
from meshca.errors import InvariantBroken, Unavailable
from meshca.ledger.port import LedgerStore, SerialReused
from meshca.ledger.query import Query
from meshca.ledger.record import Intent, Issuance, LiveLeaf, Outcome
from meshca.log import log
from meshca.store.spool.appending import Appending
from meshca.store.spool.file import orphaned, remove, set_aside
from meshca.store.spool.shelf import Shelf, Tail
from meshca.store.spool.terms import Spooled, SpoolTerms

GROUP: Final = 500  # records that are brought to the store at once
LOOK_SECONDS: Final = 1.0  # between two looks whether the store is back


class SharedLedger(LedgerStore, Protocol):
    """A ledger in a store that may be out of reach while this process runs."""

    async def restore(self, intents: Sequence[Intent], outcomes: Sequence[Outcome]) -> None:
        """Record, in this order, what was recorded elsewhere while the store was away; again is no harm.

        Raises:
            Unavailable: reason `store`; nothing of it was recorded.
            InvariantBroken: reason `store_value`: it will never be.
        """
        ...


class SpooledLedger:
    """Implements `ledger.port.LedgerStore`.

    Args:
        store: has every record in the end.
        terms: how much is kept here meanwhile.
        clock: tells the age of what is kept, and passes time between looks.
    """

    def __init__(self, store: SharedLedger, terms: SpoolTerms, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._shelf = Shelf(terms.folder)
        self._appending = Appending(terms, self._shelf, clock)
        self._looking = asyncio.get_running_loop().create_task(self._look())

    @property
    def spooled(self) -> Spooled:
        """What waits here, as of the last look."""
        return self._shelf.spooled

    def check(self, cause: Unavailable) -> None:
        """Return if issuing can go on without the store.

        Raises:
            Unavailable: reason `store`: as the cause, and why not.
        """
        self._appending.check(cause)

    async def intend(self, intent: Intent) -> None:
        """As the port says; while the store is away a serial is compared with those that wait here alone.

        Those are this process's own, and other processes' as of the last look.
        """
        try:
            await self._store.intend(intent)
        except Unavailable as error:
            # Between this and where it is held nothing is awaited.
            if self._appending.holds(intent.serial) or self._shelf.find(intent.serial) is not None:
                raise SerialReused(intent.serial, "waits in the spool") from None
            await self._appending.intend(intent, error)

    def finish(self, outcome: Outcome) -> None:
        """As the port says."""
        if self._appending.holds(outcome.serial):
            self._appending.finish(outcome)
        else:
            self._store.finish(outcome)

    async def find(self, serial: str) -> Issuance | None:
        """As the port says; here first, because what is brought to the store is then looked for there."""
        if self._shelf.paths():
            await asyncio.to_thread(self._shelf.refresh)
        return self._shelf.find(serial) or await self._store.find(serial)

    async def query(self, query: Query) -> list[Issuance]:
        """As the port says; what waits here is not among them yet."""
        return await self._store.query(query)

    async def live(self, now: datetime) -> list[LiveLeaf]:
        """As the port says, with what waits here."""
        if self._shelf.paths():
            await asyncio.to_thread(self._shelf.refresh)
        waiting = {one.serial: one for one in self._shelf.live(now)}
        found = await self._store.live(now)
        for one in found:
            waiting.pop(one.serial, None)
        if waiting:
            found = sorted([*found, *waiting.values()], key=lambda one: (one.issued_at, one.serial))
        return found

    async def prune(self, before: datetime) -> int:
        """As the port says."""
        return await self._store.prune(before)

    async def replay(self) -> None:
        """Bring everything that is here to the store.

        Raises:
            Unavailable: reason `store`; the rest stays.
        """
        if not self._shelf.paths():
            return
        await self._store.restore((), ())  # the files stay as they are while it is away
        ours = await self._appending.seal()
        for path in sorted(set(self._shelf.paths()).difference(file.path for file in ours)):
            await self._replay_orphan(path)
        for file in ours:
            await self._bring(file.path)
            self._appending.forget(file)
        await asyncio.to_thread(self._shelf.refresh)

    async def close(self) -> None:
        """Bring what is here to the store, if it is there; otherwise the next process does."""
        self._looking.cancel()
        await asyncio.gather(self._looking, return_exceptions=True)
        await self._appending.seal()  # outcomes that still wait for company
        try:
            await self.replay()
        except (Unavailable, OSError) as error:
            log.warning("store.spool_left", records=self.spooled.records, detail=str(error))
        await self._appending.close()

    async def _look(self) -> None:
        while True:
            await self._clock.sleep(LOOK_SECONDS)
            if not self._shelf.paths() and not self.spooled.records:
                continue
            await asyncio.to_thread(self._shelf.refresh)
            self._show()
            try:
                await self.replay()
            except Unavailable:  # whoever writes is told
                continue
            except OSError as error:
                log.error("store.spool_unusable", detail=error.strerror)
                continue
            except Exception as error:  # noqa: BLE001 - the outermost layer of a task: it must look again
                log.error("store.spool_failed", exc_info=error)
                continue
            self._show()

    def _show(self) -> None:
        found = self.spooled
        age = (self._clock.now() - found.oldest).total_seconds() if found.oldest else 0.0
        metrics.ledger_spooled.set(found.records)
        metrics.ledger_spool_age.set(max(age, 0.0))

    async def _replay_orphan(self, path: Path) -> None:
        try:
            with orphaned(path) as is_orphan:
                if is_orphan:
                    await self._bring(path)
        except FileNotFoundError:
            return  # another process was quicker

    async def _bring(self, path: Path) -> None:
        """Record a complete file in the store, then remove it."""
        tail = await asyncio.to_thread(Tail(path).read)
        try:
            for intents, outcomes in _groups(tail):
                await self._store.restore(intents, outcomes)
        except InvariantBroken as error:
            log.error("store.spool_refused", file=path.name, detail=error.detail)
            await asyncio.to_thread(set_aside, path, ".refused")
            return
        if tail.damaged:
            log.error("store.spool_damaged", file=path.name, lines=tail.damaged)
            await asyncio.to_thread(set_aside, path, ".damaged")
            return
        await asyncio.to_thread(remove, path)
        log.info("store.spool_brought", file=path.name, intents=len(tail.intents), outcomes=len(tail.outcomes))


def _groups(tail: Tail) -> Iterator[tuple[Sequence[Intent], Sequence[Outcome]]]:
    """Intents in order, then outcomes: what was signed comes before what became of it."""
    intents, outcomes = list(tail.intents.values()), list(tail.outcomes.values())
    for start in range(0, len(intents), GROUP):
        yield intents[start : start + GROUP], ()
    for start in range(0, len(outcomes), GROUP):
        yield (), outcomes[start : start + GROUP]

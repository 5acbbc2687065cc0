"""Adds records to this process's spool file: what comes in one turn of the loop is written and synced together.

An intent is reported as recorded only after the sync. Never more than the terms allow: whoever asks beyond them is
told that the store is away, for how long, and why no more is kept here.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Sequence
from typing import Final

from meshca import durable
from meshca.clock import Clock
from meshca.duration import format_duration
from meshca.errors import ConfigError, MeshcaError, Unavailable
from meshca.ledger.record import Intent, Outcome
from meshca.log import log
from meshca.store.lane import Job, Lane
from meshca.store.rows import micros
from meshca.store.spool.file import SUFFIX, SpoolFile
from meshca.store.spool.lines import intent_line, outcome_line
from meshca.store.spool.shelf import Shelf
from meshca.store.spool.terms import SpoolTerms

MAX_WAITING: Final = 8192


class _Line(Job):
    """One line to add, or, with none, the wish to write to another file from now on.

    Attributes:
        text: the line.
        lazily: whether nobody waits for it: it is tried again until it is written.
    """

    __slots__ = ("lazily", "text")

    def __init__(self, future: asyncio.Future[object] | None, text: bytes, *, lazily: bool = False) -> None:
        super().__init__(future)
        self.text = text
        self.lazily = lazily


class Appending:
    """The writing side of a spool. Made, used and closed on one event loop.

    Args:
        terms: how much, and where.
        shelf: of the same folder.
        clock: tells how old the oldest record is.
    """

    def __init__(self, terms: SpoolTerms, shelf: Shelf, clock: Clock) -> None:
        self._terms = terms
        self._shelf = shelf
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._lane: Lane[_Line] = Lane("store-spool", self._perform, limit=MAX_WAITING)
        self._mine: set[str] = set()  # serials whose outcome is still to come
        self._file: SpoolFile | None = None  # the thread's, as are the next two
        self._sealed: list[SpoolFile] = []
        self._kept: list[bytes] = []

    def holds(self, serial: str) -> bool:
        """Whether this one is kept, or being kept, here, and its outcome is still to come."""
        return serial in self._mine

    async def intend(self, intent: Intent, cause: Unavailable) -> None:
        """Keep an intent; durable when this returns.

        Args:
            intent: it.
            cause: why the store cannot have it now.

        Raises:
            Unavailable: reason `store`: as the cause, and why it cannot be kept here either.
            InvariantBroken: reason `store_value`.
        """
        line = intent_line(intent)
        future = self._loop.create_future()
        self._mine.add(intent.serial)
        try:
            self._lane.put(_Line(future, line))
            await future  # a cancelled one may have been written
        except Unavailable as error:
            self._mine.discard(intent.serial)
            raise Unavailable(cause.reason, f"{cause.detail}; {error.detail}") from None

    def finish(self, outcome: Outcome) -> None:
        """Keep the outcome of an intent that is held; tried again until it is written."""
        self._mine.discard(outcome.serial)
        try:
            self._lane.put(_Line(None, outcome_line(outcome), lazily=True), lazily=True)
        except MeshcaError as error:
            log.warning("store.outcome_lost", serial=outcome.serial, detail=error.detail)

    def check(self, cause: Unavailable) -> None:
        """Return if another intent could be kept now, as far as the terms go.

        Raises:
            Unavailable: reason `store`: as the cause, and why not.
        """
        try:
            self._allow(1)
        except Unavailable as error:
            raise Unavailable(cause.reason, f"{cause.detail}; {error.detail}") from None

    async def seal(self) -> Sequence[SpoolFile]:
        """Write to another file from now on, and give those that are complete, oldest first.

        Raises:
            Unavailable: reason `store`, when this is closed.
        """
        future = self._loop.create_future()
        self._lane.put(_Line(future, b""))
        await future
        return tuple(self._sealed)

    def forget(self, file: SpoolFile) -> None:
        """A complete file is in the store, and removed; in the same turn of the loop as nothing is sealed."""
        self._sealed.remove(file)
        file.close()

    async def close(self) -> None:
        """Write what waits, and give up the files: another process brings them to the store."""
        await self._lane.close()
        if self._kept:
            log.warning("store.outcomes_lost", count=len(self._kept), detail="the spool could not be written")
        for file in (*self._sealed, *([self._file] if self._file else [])):
            file.close()
        self._kept, self._sealed, self._file = [], [], None

    # On the thread.

    def _perform(self, batch: list[_Line]) -> None:
        batch = [line for line in batch if line.future is None or not line.future.cancelled()]
        self._kept += [line.text for line in batch if line.lazily]
        intents = [line for line in batch if not line.lazily and line.text]
        try:
            if intents:
                self._shelf.refresh()
                self._allow(len(intents))
            self._write(b"".join((*(line.text for line in intents), *self._kept)))
        except (OSError, ConfigError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error.detail)
            self._refuse(intents, f"the spool in {self._terms.folder} cannot be written ({why})")
        except Unavailable as error:
            self._refuse(intents, error.detail)
        if self._file is not None and any(not line.text for line in batch):
            self._sealed.append(self._file)
            self._file = None

    def _write(self, lines: bytes) -> None:
        if not lines:
            return
        if self._file is None:
            durable.make_private_folder(self._terms.folder)
            self._file = SpoolFile(self._terms.folder / self._name())
            log.warning("store.spooling", file=self._file.path.name)
        self._file.append(lines)
        self._kept = []
        self._shelf.refresh()

    def _name(self) -> str:
        """In the order of time among this machine's files."""
        return f"{micros(self._clock.now()):020d}-{os.getpid()}-{secrets.token_hex(4)}{SUFFIX}"

    def _allow(self, more: int) -> None:
        found, terms = self._shelf.spooled, self._terms
        if found.records + more > terms.max_records:
            problem = f"{found.records} records wait in the spool already, see ledger.spool.max_records"
            raise Unavailable("store", problem)
        if found.oldest is not None and self._clock.now() - found.oldest > terms.max_age:
            age = format_duration(terms.max_age)
            problem = f"records have waited in the spool for more than {age}, see ledger.spool.max_age"
            raise Unavailable("store", problem)

    @staticmethod
    def _refuse(intents: Sequence[_Line], why: str) -> None:
        for line in intents:
            line.error = Unavailable("store", why)  # each its own: they gather tracebacks

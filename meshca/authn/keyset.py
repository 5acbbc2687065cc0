"""The keys of one issuer as time goes on: fetched, refreshed, asked again for a key that is not known.

Keeps the last good keys whatever happens, fetches once at a time, and lets strangers with invented key ids
cause at most one fetch in an interval. Before the first good fetch nothing can be decided: that is
Unavailable, never Unauthenticated.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Protocol

from meshca.authn.keys import Key, Keys, read_keys
from meshca.clock import Clock
from meshca.errors import Unauthenticated, Unavailable
from meshca.log import log

FIRST_RETRY = 1.0  # seconds after a failed fetch, doubled for each further one up to the refresh interval
_DOUBLINGS = 16  # 2**16 s is longer than any refresh interval worth configuring


class KeySource(Protocol):
    """Where a JWK Set comes from."""

    async def fetch(self) -> bytes:
        """The document as it is now.

        Raises:
            Unavailable: reason `issuer_keys`.
        """
        ...


class KeySet:
    """The keys of one issuer; `run` keeps them fresh."""

    def __init__(
        self, name: str, source: KeySource, clock: Clock, *, refresh: timedelta, refetch: timedelta
    ) -> None:
        self.version = 0  # counts changes of the keys; a proof made with an older version is to be made again
        self._name = name
        self._source = source
        self._clock = clock
        self._refresh = refresh.total_seconds()
        self._refetch = min(refetch.total_seconds(), self._refresh)
        self._keys: Keys | None = None
        self._document = b""
        self._attempted_at: float | None = None
        self._failures = 0
        self._last_error = ""
        self._flight: asyncio.Task[None] | None = None

    async def find(self, key_id: str | None) -> Key:
        """The key that a token's header names, fetched when it is not known and asking is due.

        Raises:
            Unauthenticated: reason `token_unknown_key`.
            Unavailable: reason `issuer_keys`, when no key could be fetched yet.
        """
        key = self._keys.find(key_id) if self._keys else None
        if key is None and self._may_fetch():
            await self.fetch()
            key = self._keys.find(key_id) if self._keys else None
        if key is not None:
            return key
        if self._keys is None:
            raise Unavailable("issuer_keys", f"{self._name}: no keys yet: {self._last_error}")
        raise Unauthenticated("token_unknown_key", f"{self._name} has no such key")

    async def run(self) -> None:
        """Fetch now, then again and again: after the interval when it went well, sooner when it did not."""
        while True:
            await self.fetch()
            await self._clock.sleep(self._pause())

    async def fetch(self) -> None:
        """Fetch now, or wait for the fetch that is under way; a failure is remembered, not raised."""
        if self._flight is None or self._flight.done():
            self._flight = asyncio.create_task(self._fly(), name=f"keys of {self._name}")
        await asyncio.shield(self._flight)  # who gives up waiting does not end it for the others

    def close(self) -> None:
        """End a fetch that is under way."""
        if self._flight is not None:
            self._flight.cancel()

    def _may_fetch(self) -> bool:
        if self._attempted_at is None or (self._flight is not None and not self._flight.done()):
            return True
        wait = self._refetch if self._keys is not None else self._pause()
        return self._clock.monotonic() - self._attempted_at >= wait

    def _pause(self) -> float:
        if not self._failures:
            return self._refresh
        return min(self._refresh, FIRST_RETRY * 2.0 ** min(self._failures - 1, _DOUBLINGS))

    async def _fly(self) -> None:
        self._attempted_at = self._clock.monotonic()
        try:
            document = await self._source.fetch()
            keys = self._keys if self._keys is not None and document == self._document else read_keys(document)
        except Unavailable as error:
            if error.detail != self._last_error:  # a file is tried each second; its fault is told once
                log.warning(
                    "authn.keys_failed", issuer=self._name, error=error.detail, kept=self._keys is not None
                )
            self._failures += 1
            self._last_error = error.detail
            return
        if keys is not self._keys:
            self._keys, self._document, self.version = keys, document, self.version + 1
            log.info("authn.keys_changed", issuer=self._name, usable=len(keys.by_id), skipped=keys.skipped)
        self._failures, self._last_error = 0, ""

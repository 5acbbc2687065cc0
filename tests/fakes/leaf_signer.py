"""Somebody who signs leaves in our place, in memory: as asked, or as a test wants it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from meshca.authority.material import to_pem
from meshca.authority.outside import LeafWish, name_and_key
from meshca.clock import Clock
from meshca.errors import Unavailable
from tests.fakes.pki import Ca
from tests.fakes.vault_pki import sign_leaf


class FakeLeafSigner:
    """Implements `authority.outside.LeafSource`.

    Args:
        issuer: that signs.
        clock: for the beginning.

    Attributes:
        wishes: that came.
        error: raised in place of every answer, while it is set.
        verdicts: what it was told of leaves, by whose they were; None for one that was given on.
        faults: of what is signed.
        asked: set when a wish has come.
        may: cleared, nobody is answered until it is set.
    """

    def __init__(self, issuer: Ca, clock: Clock) -> None:
        self._issuer = issuer
        self._clock = clock
        self.wishes: list[LeafWish] = []
        self.error: Unavailable | None = None
        self.problem: Unavailable | None = None
        self.verdicts: list[tuple[str, Unavailable | None]] = []
        self.faults: Mapping[str, Any] = {}
        self.asked, self.may = asyncio.Event(), asyncio.Event()
        self.may.set()

    async def sign(self, wish: LeafWish) -> str:
        """As the port says."""
        self.wishes.append(wish)
        self.asked.set()
        await self.may.wait()
        if self.error is not None:
            self.problem = self.error
            raise self.error
        if wish.issuer != name_and_key(self._issuer.certificate):
            raise Unavailable("issuer", "signs by another one")
        return to_pem(sign_leaf(self._issuer, _body(wish), _whole(self._clock.now()), **self.faults))

    def judged(self, identity: str, error: Unavailable | None) -> None:
        """As the port says."""
        self.problem = error
        self.verdicts.append((identity, error))


def _body(wish: LeafWish) -> dict[str, str]:
    return {"csr": wish.csr, "uri_sans": wish.identity, "not_after": wish.not_after.isoformat()}


def _whole(moment: datetime) -> datetime:
    return moment.replace(microsecond=0)

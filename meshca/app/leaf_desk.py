"""Where a worker has leaves signed by somebody else: it asks the parent, who alone has the login.

A question that is not answered in time is given up, and too many at once are refused: nobody must wait for what
will not come. What nobody waits for is taken back, so that nothing is signed for it.
"""

from __future__ import annotations

import asyncio
import itertools
from datetime import datetime
from typing import Final

from meshca.app.control import Channel
from meshca.app.leaf_messages import AskLeaf, DropLeaf, GaveLeaf, JudgedLeaf
from meshca.authority.outside import LeafSigner, LeafWish
from meshca.config.upstream import UpstreamConfig
from meshca.config.vault import VaultConfig
from meshca.errors import Unavailable
from meshca.log import log

WAITING: Final = 256  # in one worker; at some hundred leaves in a second nobody waits longer than a second or two

MOMENT: Final = 5.0  # seconds that the way to the parent and back takes at most; a parent that hangs takes longer


def longest(upstream: UpstreamConfig) -> float:
    """Seconds that one question may take: Vault's timeout to have a turn, the same for an answer, and a moment."""
    return MOMENT + (2 * upstream.timeout.total_seconds() if isinstance(upstream, VaultConfig) else 0)


class LeafDesk:
    """Implements `authority.outside.LeafSigner` in a worker.

    Args:
        channel: to the parent.
        seconds: that one question may wait (`longest`); the parent's signer gives up sooner.
    """

    def __init__(self, channel: Channel, seconds: float) -> None:
        self._channel = channel
        self._seconds = seconds
        self._ids = itertools.count(1)
        self._asked: dict[int, asyncio.Future[GaveLeaf]] = {}

    async def sign(self, wish: LeafWish) -> str:
        """As the port says.

        Raises:
            Unavailable: reason `leaf_waiting`, or as the parent's signer.
        """
        if len(self._asked) >= WAITING:
            raise Unavailable("leaf_waiting", f"{WAITING} leaves wait to be signed in our place already")
        number = next(self._ids)
        answer = self._asked[number] = asyncio.get_running_loop().create_future()
        self._channel.post(
            AskLeaf(
                id=number,
                csr=wish.csr,
                identity=wish.identity,
                not_after=wish.not_after.isoformat(),
                issuer=wish.issuer,
            )
        )
        try:
            given: GaveLeaf = await asyncio.wait_for(answer, self._seconds)
        except TimeoutError:
            raise Unavailable("leaf_waiting", f"no leaf was signed within {self._seconds:g} s") from None
        finally:
            del self._asked[number]
            if answer.cancelled():  # by `wait_for`: the time is over, or whoever asked is gone
                self._channel.post(DropLeaf(id=number))
        if given.reason:
            raise Unavailable(given.reason, given.detail)
        return given.leaf

    def judged(self, identity: str, error: Unavailable | None) -> None:
        """As the port says; the parent, who has the login, notes it for all workers."""
        if error is None:
            self._channel.post(JudgedLeaf(identity=identity))
        else:
            self._channel.post(JudgedLeaf(identity=identity, reason=error.reason, detail=error.detail))

    def given(self, answer: GaveLeaf) -> None:
        """The parent has answered; nobody may wait for it any more."""
        waiting = self._asked.get(answer.id)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)


async def answered(question: AskLeaf, signer: LeafSigner | None) -> GaveLeaf:
    """The parent's answer.

    Args:
        question: of a worker.
        signer: asks whoever signs; None while there is nobody.
    """
    wish = LeafWish(
        csr=question.csr,
        identity=question.identity,
        not_after=datetime.fromisoformat(question.not_after),
        issuer=question.issuer,
    )
    if signer is None:
        return GaveLeaf(id=question.id, reason="no_signer", detail="whoever signs leaves is not there yet")
    try:
        return GaveLeaf(id=question.id, leaf=await signer.sign(wish))
    except Unavailable as error:
        return GaveLeaf(id=question.id, reason=error.reason, detail=error.detail)
    except Exception:  # noqa: BLE001 - a fault of ours; the worker must not wait for what will not come
        log.exception("leaf.failed", question=question.id)
        return GaveLeaf(id=question.id, reason="internal", detail="the parent has failed; see its log")


def noted(verdict: JudgedLeaf, signer: LeafSigner | None) -> None:
    """Tell the parent's signer what a worker found."""
    if signer is not None:
        error = Unavailable(verdict.reason, verdict.detail) if verdict.reason else None
        signer.judged(verdict.identity, error)

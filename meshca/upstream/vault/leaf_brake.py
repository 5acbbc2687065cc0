"""How leaves by Vault went last, and who has to wait before another is asked for.

An outage is waited for by everybody together, and one at a time asks whether it is over. A leaf that was not as it
was asked for holds back only whose it was: it may be due to that request, and no workload must be able to stop the
others by one, nor to have the server called wrong by a CSR that Vault cannot read. What is refused to several is
due to the role, also while others get leaves.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from typing import Final, TypeVar

from meshca.clock import Clock
from meshca.errors import Unavailable
from meshca.upstream.vault.faults import TABLE, Fault, count, failure, fault_of
from meshca.upstream.vault.patience import Patience

MANY: Final = 4096  # identities that are remembered; of more the one that failed longest ago is forgotten
RECENT: Final = 600.0  # seconds; who wants a leaf and is refused asks again within less
SEVERAL: Final = 2  # identities whose requests were bad ones: then it is no CSR that is wrong, but the role
# Whoever answered, if anybody did, was not the server: an outage may last.
_UNHEARD: Final = frozenset({Fault.UNTRUSTED, Fault.NOT_VAULT, Fault.LOGIN_UNREADABLE})
_TOLD: Final = {"leaf_answer": Fault.ANSWER, "leaf_issuer": Fault.LEAF_ISSUER}  # as `authority.outside` refuses

T = TypeVar("T")


class LeafBrake:
    """Of one Vault.

    Args:
        clock: monotonic, so that a clock that is set does not matter.
        rng: the source of jitter.
    """

    def __init__(self, clock: Clock, rng: random.Random) -> None:
        self._clock = clock
        self._rng = rng
        self._server = Patience(clock, rng)
        self._of: dict[str, Patience] = {}
        self._asking = 0
        self._last: Unavailable | None = None
        self._refused: dict[str, float] = {}  # when the last request of an identity was a bad one; oldest first

    @property
    def problem(self) -> Unavailable | None:
        """Why the last leaf could not be given on, or why several identities get none; else None.

        None too once an outage is over, though nobody was given a leaf since.
        """
        if self._last is not None:
            return self._last
        since = self._clock.monotonic() - RECENT
        several = sum(when > since for when in self._refused.values())
        if several < SEVERAL:
            return None
        return failure(Fault.BAD_REQUEST, f"of {several} identities within {RECENT / 60:.0f} minutes")

    def check(self, identity: str) -> None:
        """Refuse what has failed just now.

        Raises:
            Unavailable: the same as then.
        """
        self._server.check()
        if identity in self._of:
            self._of[identity].check()

    @contextlib.contextmanager
    def asking(self, identity: str) -> Iterator[None]:
        """While a leaf is asked for; after an outage by one caller, until it is known to be over.

        Raises:
            Unavailable: as `check`, or the outage again, while somebody else tries whether it is over.
        """
        self.check(identity)
        if self._asking:
            self._server.check_over()
        self._asking += 1
        try:
            yield
        finally:
            self._asking -= 1

    def failed(self, error: Unavailable) -> Unavailable:
        """Nothing came: an outage is waited for, what is refused to one may be granted to another."""
        count(error)
        self._last = error
        if _is_outage(error) and not self._server.left:
            self._server.failed(error)
        return error

    def refused(self, identity: str, error: Unavailable) -> Unavailable:
        """As `failed`, after Vault was asked: what it refuses ends an outage.

        A bad request is only counted: it is its caller's matter, until it is one of several.
        """
        fault = fault_of(error)
        if fault is None or fault in _UNHEARD or _is_outage(error):
            return self.failed(error)
        self.answered()
        if fault is not Fault.BAD_REQUEST:
            return self.failed(error)
        count(error)
        _remember(self._refused, identity, self._clock.monotonic())
        if _is_outage(self._last):
            self._last = None
        return error

    def answered(self) -> None:
        """Something came, so the server is there."""
        self._server.succeeded()

    def judged(self, identity: str, error: Unavailable | None) -> None:
        """As `authority.outside.LeafSigner`."""
        if error is None:
            self._last = None
            self._of.pop(identity, None)
            self._refused.pop(identity, None)
            return
        fault = _TOLD.get(error.reason)
        self._last = error if fault is None else failure(fault, error.detail)
        count(self._last)
        if fault is Fault.ANSWER:
            patience = self._of.get(identity) or Patience(self._clock, self._rng)
            patience.failed(error)
            _remember(self._of, identity, patience)


def _remember(of: dict[str, T], identity: str, what: T) -> None:
    """As the newest of at most so many."""
    of.pop(identity, None)
    if len(of) >= MANY:
        del of[next(iter(of))]
    of[identity] = what


def _is_outage(error: Unavailable | None) -> bool:
    fault = fault_of(error)
    return fault is not None and TABLE[fault].passes

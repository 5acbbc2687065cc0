"""How leaves by Vault went last, and who has to wait before another is asked for.

An outage is waited for by everybody together, and one at a time asks whether it is over. A leaf that was not as it
was asked for holds back only whose it was: it may be due to that request, and no workload must be able to stop the
others by one, nor to have the server called wrong by a CSR that Vault cannot read.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from typing import Final

from meshca.clock import Clock
from meshca.errors import Unavailable
from meshca.upstream.vault.faults import TABLE, Fault, count, failure, fault_of
from meshca.upstream.vault.patience import Patience

MANY: Final = 4096  # identities that are remembered; of more the one that failed first is forgotten
_TOLD: Final = {"leaf_answer": Fault.ANSWER, "leaf_issuer": Fault.LEAF_ISSUER}  # as `authority.outside` refuses


class LeafBrake:
    """Of one Vault.

    Args:
        clock: monotonic, so that a clock that is set does not matter.
        rng: the source of jitter.

    Attributes:
        problem: why the last leaf could not be given on; None when it could, and before any.
    """

    problem: Unavailable | None = None

    def __init__(self, clock: Clock, rng: random.Random) -> None:
        self._clock = clock
        self._rng = rng
        self._server = Patience(clock, rng)
        self._of: dict[str, Patience] = {}
        self._asking = 0
        self._refused = ""  # the first identity whose request was a bad one, since a leaf was good

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
        self.problem = error
        if _is_outage(error) and not self._server.left:
            self._server.failed(error)
        return error

    def refused(self, identity: str, error: Unavailable) -> Unavailable:
        """As `failed`, after Vault was asked: what is no outage ends one.

        A bad request is its caller's matter until another identity's is one too: then it is due to the role.
        """
        fault = fault_of(error)
        if fault is None or _is_outage(error):
            return self.failed(error)
        self.answered()
        if fault is not Fault.BAD_REQUEST or self._refused not in {"", identity}:
            return self.failed(error)
        self._refused = identity
        if _is_outage(self.problem):
            self.problem = None
        return error

    def answered(self) -> None:
        """Something came, so the server is there."""
        self._server.succeeded()

    def judged(self, identity: str, error: Unavailable | None) -> None:
        """As `authority.outside.LeafSigner`."""
        if error is None:
            self.problem, self._refused = None, ""
            self._of.pop(identity, None)
            return
        fault = _TOLD.get(error.reason)
        self.problem = error if fault is None else failure(fault, error.detail)
        count(self.problem)
        if fault is Fault.ANSWER:
            self._patience_with(identity).failed(error)

    def _patience_with(self, identity: str) -> Patience:
        if identity not in self._of and len(self._of) >= MANY:
            del self._of[next(iter(self._of))]
        return self._of.setdefault(identity, Patience(self._clock, self._rng))


def _is_outage(error: Unavailable | None) -> bool:
    fault = fault_of(error)
    return fault is not None and TABLE[fault].passes

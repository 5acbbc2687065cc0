"""Orders of the CA to replace the certificate before its time: when it is our turn, and not before the roots.

The rule is `discovery.order`'s; here is what an agent adds to it. Its Envoys must have answered for the roots that
they were given last, because the new certificate may lead to one of them. It must never renew anything itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from meshca.agent import pushed
from meshca.agent.envoys import Envoys, InForce, Missing, Undecided, Verdict
from meshca.agent.svid import Svid
from meshca.backoff import Pace
from meshca.config.resource_names import ORDER, ORDER_TYPE_URL
from meshca.discovery.order import RenewalOrder, Turn
from meshca.log import log

TAKEN: Final = InForce(grade="agent")


class Orders:
    """The newest order, as this agent stands to it.

    Args:
        pace: draws our turn, and tells the time.
        roots: what the Envoys say to the roots that they were given last.
    """

    def __init__(self, pace: Pace, roots: Callable[[], Verdict] = lambda: TAKEN) -> None:
        self._clock = pace.clock
        self._turn = Turn(pace.rng, pace.backoff)
        self._roots = roots

    def take(self, order: RenewalOrder) -> None:
        """Obey this one from now on."""
        self._turn.take(order, self._clock.now())

    def left(self, held: Svid) -> float:
        """Seconds until a certificate is to be replaced by order; infinite when no order concerns it.

        While an Envoy's answer to the roots is awaited it is infinite as well: the answer is news. Roots that an
        ill Envoy holds up are waited for until the window ends: then the others would be lost with it. An Envoy
        that is away is not waited for: it gets the roots together with the certificate when it is back.
        """
        moment = self._turn.due(held.signers)
        if moment is None:
            return math.inf
        now = self._clock.now()
        if moment > now:
            return (moment - now).total_seconds()
        match self._roots():
            case InForce() | Missing():
                return 0.0
            case Undecided():
                return math.inf
            case _:
                return max(0.0, (self._turn.ends_at - now).total_seconds())

    @property
    def roots_answered(self) -> bool:
        """Whether no Envoy's answer to the newest roots is awaited."""
        return not isinstance(self._roots(), Undecided)

    def came(self, svid: Svid) -> None:
        """A new certificate has come; one that is still below a signer of the order is tried again later."""
        if not self._turn.came(svid.signers, self._clock.now()):
            log.warning("order.still_concerned", serial=svid.serial)


class OrderIntake:
    """The order that the CA pushes; no Envoy hears of it.

    Args:
        orders: obey it.
        taken: called after each.
    """

    type_url: Final = ORDER_TYPE_URL
    name: Final = ORDER

    def __init__(self, orders: Orders, taken: Callable[[], None]) -> None:
        self._orders = orders
        self._taken = taken

    def take(self, unverified: bytes) -> None:
        """Obey an order from now on.

        Raises:
            Unavailable: `bad_order`.
        """
        order = pushed.read_order(unverified)
        if order.signers:
            log.info("order.received", signers=len(order.signers), window_s=order.window.total_seconds())
        self._orders.take(order)
        self._taken()

    def verdict(self, envoys: Envoys) -> Verdict:
        """Taken, by ourselves."""
        del envoys
        return TAKEN

    def decided(self, verdict: Verdict) -> None:
        """Nothing is left to do."""

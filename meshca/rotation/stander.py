"""Makes what is in force out of what is kept: signing material below the active root, the bundle, the order.

A new intermediate is proven by a trial leaf and kept before anything is signed by it, so that every leaf in the
ledger leads to a root. It never decides which root is active. Where nothing signs below that one here, what signed
before goes on while its root retires, and no longer: nobody would verify it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime
from typing import Final

from meshca.authority.chain import find_path
from meshca.authority.drafting import OURSELVES, Cause, Planned, bundle_text
from meshca.authority.history import Kind, Lifecycle, Record
from meshca.authority.intermediates import note_intermediate
from meshca.authority.lifecycle import TRUSTED, State
from meshca.authority.material import SigningMaterial, certificate_id
from meshca.authority.slot import Slot
from meshca.authority.upstream import Offer, Upstream
from meshca.clock import Clock
from meshca.errors import ConfigError, MeshcaError, Unavailable
from meshca.identity.spiffe_id import TrustDomain
from meshca.log import log
from meshca.rotation.standing import NO_ORDER, Order, Standing

MOST_BELOW: Final = 1000  # intermediates that an order names, the newest; it names their root as well
SIGNED: Final = (State.ACTIVE, State.RETIRING, State.TAINTED)


class Stander:
    """Makes standings.

    Args:
        upstream: gives the material.
        keep: keeps new intermediates.
        clock: for validity.
        trust_domain: that is signed for.
        replica: our name beside the intermediates that we sign by.

    Attributes:
        problem: why nothing can be signed below the active root here, as of the last `stand`; None when it can.
    """

    problem: ConfigError | Unavailable | None = None

    def __init__(
        self,
        *,
        upstream: Upstream,
        keep: Callable[[Lifecycle, Planned], Awaitable[Lifecycle]],
        clock: Clock,
        trust_domain: TrustDomain,
        replica: str = "",
    ) -> None:
        self._upstream = upstream
        self._keep = keep
        self._clock = clock
        self._trust_domain = trust_domain
        self._replica = replica
        self._lost = ""

    async def stand(self, kept: Lifecycle) -> tuple[Lifecycle, Standing, datetime | None]:
        """What shall be in force, and when to ask again although nothing changed.

        Gives the state with the intermediates in it that are new.

        Raises:
            ConfigError: the material below the active root cannot be used, and no root retires that could go on.
            Unavailable: it cannot be had now, likewise; or what is new cannot be kept.
            Conflict: another replica was first.
        """
        active = kept.active_root
        if active is None:
            raise Unavailable("no_signer", "no root is active yet")
        roots = bundle_text(kept.trusted)
        elder = await self._elder(kept, active)
        root, offer = await self._signing(kept, active, elder)
        signer = offer.material.trusting(roots)
        serving = signer if elder is None or elder is offer else elder.material.trusting(roots)
        if serving is not signer and kept.find(certificate_id(serving.certificate)) is None:
            kept = await self._noted(kept, _elder_of(kept), serving)
        kept = await self._noted(kept, root, signer)  # last, so that of ours this is the one that is active
        standing = Standing(signer=signer, serving=serving, order=order_of(kept))
        times = [one.renew_at for one in (offer, elder) if one is not None and one.renew_at is not None]
        return kept, standing, min(times, default=None)

    def prove(self, standing: Standing) -> tuple[Slot, Slot]:
        """The slots that sign for workloads and for ourselves, both proven with the bundle in force.

        Raises:
            ConfigError: with every fault found.
        """
        now = self._clock.now()
        slot = Slot.prove(standing.signer, self._trust_domain, now)
        if standing.serving is standing.signer:
            return slot, slot
        return slot, Slot.prove(standing.serving, self._trust_domain, now)

    def withheld(self, standing: Standing, kept: Lifecycle, cause: MeshcaError) -> Standing | None:
        """What stands in place of a signer that must not sign any more; None while its root is neither.

        Args:
            standing: what is in force.
            kept: everything that is kept.
            cause: why nothing else signs.
        """
        signer = standing.signer
        root = kept.find(certificate_id(find_path(signer.certificate, signer.others, signer.roots)[-1]))
        if root is not None and root.state in TRUSTED - {State.TAINTED}:
            return None
        state = "tainted" if root is not None and root.state is State.TAINTED else "not trusted any more"
        why = f"the root that is signed below here is {state}; give this replica what signs below the active one"
        return replace(
            standing,
            order=order_of(kept),
            withheld=f"{why}: {cause.detail}",
            bundle=bundle_text(kept.trusted),
        )

    async def _signing(self, kept: Lifecycle, active: Record, elder: Offer | None) -> tuple[Record, Offer]:
        """What signs, and below which root: the active one, or else the elder one while it retires."""
        try:
            offer = await self._upstream.obtain(active.id)
        except (ConfigError, Unavailable) as error:
            self.problem = error
            root = _elder_of(kept)
            if elder is None or root.state is not State.RETIRING:
                raise
            return root, elder
        self.problem = None
        return active, offer

    async def _elder(self, kept: Lifecycle, active: Record) -> Offer | None:
        """Material below the root that signed before and is still trusted; None when that is the active one.

        Without it the server shows a certificate below the active root: who knows the old one only is refused.
        """
        elder = _elder_of(kept)
        if elder.id == active.id:
            return None
        try:
            offer = await self._upstream.obtain(elder.id)
            Slot.prove(offer.material, self._trust_domain, self._clock.now())
        except (ConfigError, Unavailable) as error:
            if self._lost != str(error):  # once for each cause, not for each turn
                log.warning("serving.below_the_new_root", root=elder.id, reason=error.reason, detail=error.detail)
            self._lost = str(error)
            return None
        self._lost = ""
        return offer

    async def _noted(self, kept: Lifecycle, root: Record, material: SigningMaterial) -> Lifecycle:
        """The state with this signer as the one that is active here."""
        cause = Cause(by=OURSELVES, at=self._clock.now())
        made = note_intermediate(kept, root.id, material.certificate, self._replica, cause)
        if made == (kept, ()):
            return kept
        Slot.prove(material, self._trust_domain, cause.at)
        return await self._keep(kept, made)


def order_of(kept: Lifecycle) -> Order:
    """Who must renew: everybody below a tainted root."""
    tainted = {root.id for root in kept.of(Kind.ROOT, State.TAINTED)}
    plan = kept.plan
    if not tainted or plan is None or plan.tainted_at is None:
        return NO_ORDER
    below = [one.id for one in kept.of(Kind.INTERMEDIATE) if one.parent in tainted][-MOST_BELOW:]
    return Order(signers=(*sorted(tainted), *below), begun_at=plan.tainted_at, window=plan.window)


def _elder_of(kept: Lifecycle) -> Record:
    """The root that has signed longest of those that are trusted."""
    return kept.of(Kind.ROOT, *SIGNED)[0]

"""The authority: which slots sign now, and what they sign.

Two slots: one signs what workloads get, one what our own ports show. While a root is changed they are below
different roots; otherwise they are the same. Both can be replaced at any moment; a draft is signed by the slot
that drafted it, because the ledger's intent already names that signer. This module must never sign anything but a
`Draft`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from meshca.admission.model import Grant
from meshca.authority import serving
from meshca.authority.serials import Serials
from meshca.authority.slot import Slot
from meshca.csr import ProvenKey
from meshca.errors import Unavailable
from meshca.public_key import PublicKey
from meshca.svid.draft import Draft, Issued, Stamp
from meshca.svid.profile import Profile
from meshca.validity import spent


class Authority:
    """Drafts and signs by the current slots.

    Args:
        serials: draws serials that no other worker draws.
        profile: how far NotBefore lies in the past; its lifetimes are the caller's business (`svid.profile`).
    """

    def __init__(self, serials: Serials, profile: Profile) -> None:
        self._serials = serials
        self._backdate = profile.backdate
        self._slot: Slot | None = None
        self._serving: Slot | None = None
        self._previous: tuple[Slot | None, ...] = ()
        self._withheld = "no signing certificate has been proven yet"

    def current(self) -> Slot:
        """The slot that signs now.

        Raises:
            Unavailable: reason `no_signer`, before the first slot, and while signing is withheld.
        """
        if self._slot is None:
            raise Unavailable("no_signer", self._withheld)
        return self._slot

    def current_serving(self) -> Slot:
        """The slot that signs what our own ports show.

        Raises:
            Unavailable: reason `no_signer`, before the first slot.
        """
        return self._serving or self.current()

    def replace(self, slot: Slot, serving: Slot | None = None) -> None:
        """Let proven slots sign from now on; drafts of those before can still be signed.

        Args:
            slot: for workloads.
            serving: for our own ports; the same when there is none.
        """
        self._previous = (self._slot, self._serving)
        self._slot, self._serving = slot, serving

    def withhold(self, why: str) -> None:
        """Sign nothing for workloads until there is another slot, drafts that are under way included.

        Our own ports are signed for as before: who still trusts that root must learn what is going on.

        Args:
            why: what an administrator has to do.
        """
        serving = self.current_serving()
        if (
            serving is self._slot
        ):  # of its own issuer now, so that `drafter` takes no workload's draft for one of it
            serving = replace(serving, issuer=replace(serving.issuer))
        self._serving = serving
        self._slot, self._previous, self._withheld = None, (), why

    def draft(self, grant: Grant, key: ProvenKey, lifetime: timedelta, now: datetime) -> Draft:
        """Draft an X.509-SVID under the current slot.

        Raises:
            Denied: reason `key_type`.
            Unavailable: reason `no_signer`, `signer_not_begun` or `signer_expired`.
            InvariantBroken: reason `lint`.
        """
        return self.current().draft(grant, key, lifetime, self._stamp(now))

    def sign(self, draft: Draft, now: datetime) -> Issued:
        """Sign a draft once, by the slot that drafted it.

        Raises:
            Unavailable: reason `signer_replaced` or `signer_expired`; draft anew.
            InvariantBroken: reason `draft_spent`, `signed_changed` or `lint`; nothing may be given out.
        """
        return draft.sign(self.drafter(draft, now).sign)

    def drafter(self, draft: Draft, now: datetime) -> Slot:
        """The slot that made a draft, which may still be signed.

        Raises:
            Unavailable: reason `signer_replaced` or `signer_expired`; draft anew.
        """
        for slot in (self._slot, self._serving, *self._previous):
            if slot is not None and slot.issuer is draft.issuer:
                if spent(draft.not_after, now):
                    raise Unavailable(
                        "signer_expired", "the draft was kept until its certificate would have ended"
                    )
                return slot
        raise Unavailable("signer_replaced", f"the signer {draft.issuer.signer_id} of the draft is gone")

    def draft_serving(
        self, key: PublicKey, names: Sequence[str], now: datetime, lifetime: timedelta = serving.LIFETIME
    ) -> Draft:
        """Draft the CA's own TLS certificate for a key of ours, by the serving slot; it ends no later than that.

        Raises:
            ConfigError: a name is neither a DNS name nor an IP address.
            Unavailable: reason `no_signer`, `signer_not_begun` or `signer_expired`.
            InvariantBroken: reason `lint`.
        """
        issuer = self.current_serving().issuer
        return serving.draft_serving(key, issuer, serving.read_names(names), lifetime, self._stamp(now))

    def probe(self, now: datetime) -> None:
        """Sign a leaf by each slot and verify it through the whole chain, for readiness.

        Raises:
            Unavailable: reason `no_signer`, `signer_not_begun` or `signer_expired`.
            InvariantBroken: reason `lint` or `trial_leaf`.
        """
        self.current().try_leaf(now)
        if self._serving is not None:
            self._serving.try_leaf(now)

    def _stamp(self, now: datetime) -> Stamp:
        return Stamp(serial=self._serials.draw(), now=now, backdate=self._backdate)

"""What the CA pushes: checked, put where the Envoys get it, and taken back when one refuses it for itself.

A bad push never replaces a good one. What is stored for the next start is only what every Envoy that asked took.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from dataclasses import replace
from typing import Final, Protocol

from cryptography import x509

from meshca.agent import pushed
from meshca.agent.bundle import Bundle, parse_bundle
from meshca.agent.chain import fingerprint, verify_path
from meshca.agent.envoys import Envoys, HeldUp, InForce, Rejected, Verdict
from meshca.agent.holding import Holding
from meshca.agent.pushed import Policies
from meshca.agent.state import State
from meshca.agent.svid import Svid
from meshca.agent.trust import Trust
from meshca.clock import Clock
from meshca.config.resource_names import AUTHZ, EXTENSION_TYPE_URL, ROOTCA, SECRET_TYPE_URL
from meshca.errors import BadRequest, Unavailable
from meshca.identity.service_account import ServiceAccount
from meshca.identity.spiffe_id import SpiffeId
from meshca.log import log

RECORD: Final = "policies"


class Intake(Protocol):
    """One resource that the CA pushes."""

    @property
    def type_url(self) -> str:
        """Its type."""
        ...

    @property
    def name(self) -> str:
        """Its name at the CA."""
        ...

    def take(self, unverified: bytes) -> None:
        """Check what was pushed and offer it to the Envoys.

        Raises:
            MeshcaError: it is bad; what was offered before still is.
        """
        ...

    def verdict(self, envoys: Envoys) -> Verdict:
        """Whether what was taken last is in force."""
        ...

    def decided(self, verdict: Verdict) -> None:
        """The verdict has changed and the CA is being told."""
        ...


class RootsIntake:
    """The trust bundle.

    Args:
        holding: has our certificate, and what Envoys get.
        trust: learns it, for our own channels and for the next start, and hands it to the holding.
        clock: for the checks.
        hurry: called when our own certificate does not lead to the new roots: it is of no use any more.
    """

    type_url: Final = SECRET_TYPE_URL
    name: Final = ROOTCA

    def __init__(self, holding: Holding, trust: Trust, clock: Clock, hurry: Callable[[], None]) -> None:
        self._holding = holding
        self._trust = trust
        self._clock = clock
        self._hurry = hurry
        self._leaf = ""  # serial of the certificate that was last in force at every Envoy

    def take(self, unverified: bytes) -> None:
        """Learn and offer a bundle.

        Raises:
            Unavailable: `bad_bundle`; or `no_common_root`, when it shares no root with the one held. A rotation
                goes through a bundle with both; a sudden change would lock this agent out of the CA for good.
        """
        now = self._clock.now()
        bundle = parse_bundle(pushed.read_roots(unverified), now)
        if self._trust.bundle is not None and not bundle.shares_a_root_with(self._trust.bundle):
            raise Unavailable("no_common_root", "the new roots share none with those held; push both first")
        self._trust.learn(bundle)
        held = self._holding.svid
        if held is not None and held.valid(now) and not self._leads_to(held, bundle):
            log.warning("certificate.left_behind", serial=held.serial, roots=bundle.version)
            self._hurry()

    def verdict(self, envoys: Envoys) -> Verdict:
        """As `Intake.verdict`; roots that are in force are so beside a certificate, so it is said which.

        A certificate that an Envoy has not acknowledged, or is late to, is not in force: the one before it is.
        """
        version = self._holding.bundle.version if self._holding.bundle else ""
        found = envoys.verdict(SECRET_TYPE_URL, self._holding.root_names(), version)
        self._leaf = self._leaf_in_force(envoys)
        return replace(found, leaf=self._leaf) if isinstance(found, InForce) else found

    def _leaf_in_force(self, envoys: Envoys) -> str:
        if (svid := self._holding.svid) is None:
            return ""
        found = envoys.verdict(SECRET_TYPE_URL, self._holding.leaf_names(), svid.serial)
        return svid.serial if isinstance(found, InForce) and not found.pending_pids else self._leaf

    def decided(self, verdict: Verdict) -> None:
        """Nothing: roots stay offered; an Envoy that refuses good ones gets them again by its own session."""

    def _leads_to(self, svid: Svid, bundle: Bundle) -> bool:
        """Whether a valid certificate leads to one of these roots; where it led when it came, it still does."""
        if not svid.signers.isdisjoint(map(fingerprint, bundle.certificates)):
            return True
        leaf, *intermediates = x509.load_pem_x509_certificates(svid.chain.encode())
        try:
            verify_path(leaf, intermediates, bundle.certificates, self._clock.now())
        except Unavailable:
            return False
        return True


class PoliciesIntake:
    """The policy set.

    The last one that all took is kept in the state folder, with the identity it is for: an Envoy that starts
    while the CA is out of reach gets it. One that an Envoy refuses is taken back from all of them; an Envoy that
    took it and has trouble with its secrets takes nothing back from anybody.
    """

    type_url: Final = EXTENSION_TYPE_URL
    name: Final = AUTHZ

    def __init__(self, holding: Holding, state: State | None) -> None:
        self._holding = holding
        self._state = state
        self._good: Policies | None = None
        self._offered: Policies | None = None
        self._refused: Rejected | None = None

    def restore(self, account: ServiceAccount | None) -> None:
        """Offer what was in force when the agent last ran, if it is surely this workload's.

        Args:
            account: who we are, as far as known without the CA; None offers nothing.
        """
        record = self._state.load(RECORD) if self._state is not None else None
        if record is None or account is None or self._good is not None:
            return
        try:
            identity = SpiffeId.parse(record.get("spiffe_id", ""))
            policies = pushed.read_policies(base64.b64decode(record.get("policies", ""), validate=True))
            if identity.service_account() != account:
                return
        except (BadRequest, Unavailable, binascii.Error) as error:
            log.warning("policies.stored_refused", error=str(error))
            return
        self._good = self._offered = policies
        self._holding.take_policies(policies)
        log.info("policies.restored", version=policies.version)

    def take(self, unverified: bytes) -> None:
        """Offer a policy set.

        Raises:
            Unavailable: `bad_policies`.
        """
        self._offered, self._refused = pushed.read_policies(unverified), None
        self._holding.take_policies(self._offered)

    def verdict(self, envoys: Envoys) -> Verdict:
        """As `Intake.verdict`; a refusal stands until the CA pushes again."""
        if self._refused is not None:
            return self._refused
        return envoys.verdict(EXTENSION_TYPE_URL, (AUTHZ,), self._offered.version if self._offered else "")

    def decided(self, verdict: Verdict) -> None:
        """Keep what all took; go back to it when the new set is refused."""
        if isinstance(verdict, Rejected) and self._refused is None:
            self._refused = verdict
            log.error(
                "policies.refused", version=self._offered.version if self._offered else "", error=verdict.error
            )
            if self._good is not None:
                self._holding.take_policies(self._good)
        if isinstance(verdict, InForce | HeldUp) and self._offered is not None and self._good != self._offered:
            self._good = self._offered
            self._save(self._offered)

    def _save(self, policies: Policies) -> None:
        if self._state is not None and self._holding.svid is not None:
            body = base64.b64encode(policies.body).decode()
            self._state.save(RECORD, {"spiffe_id": str(self._holding.svid.identity), "policies": body})

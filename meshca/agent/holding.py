"""What the agent holds now, as its Envoys see it: certificate, roots, policies.

A certificate that is not valid now is never offered: it leaves the shelf the moment it ends, and `default` is
pending until there is a new one, or until a clock that had jumped is right again. Everything else stays until
something better replaces it.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import NoReturn

from meshca.agent.bundle import Bundle
from meshca.agent.pushed import Policies
from meshca.agent.svid import Svid
from meshca.clock import Clock
from meshca.config.resource_names import DEFAULT, EXTENSION_TYPE_URL, ROOTCA, SECRET_TYPE_URL
from meshca.discovery import resources
from meshca.discovery.event import Resource
from meshca.discovery.resources import KeyPair, TrustBundle
from meshca.discovery.source import Shelf
from meshca.errors import MeshcaError
from meshca.log import log
from meshca.validity import ended

CHECK_SECONDS = 1.0  # how exactly begin and end of a certificate are noticed where nobody asks for it


class Holding(Shelf):
    """The source of every Envoy's subscriptions, and what the rest of the agent looks at."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self._svid: Svid | None = None
        self._bundle: Bundle | None = None
        self._policies: Policies | None = None
        self._failure = "no answer of the CA yet"
        self._offered = False

    @property
    def svid(self) -> Svid | None:
        """The newest certificate, which may have ended."""
        return self._svid

    @property
    def bundle(self) -> Bundle | None:
        """The roots that Envoys get."""
        return self._bundle

    @property
    def policies(self) -> Policies | None:
        """The policy set that Envoys get."""
        return self._policies

    @property
    def failure(self) -> str:
        """Why there is no newer certificate; empty after a success."""
        return self._failure

    def take_svid(self, svid: Svid) -> None:
        """Offer a new certificate in place of the old one."""
        self._svid = svid
        self._failure = ""
        log.info(
            "certificate.received",
            spiffe_id=str(svid.identity),
            serial=svid.serial,
            not_after=svid.not_after.isoformat(),
        )
        self._publish()

    def take_bundle(self, bundle: Bundle) -> None:
        """Offer these roots."""
        if self._bundle != bundle:
            log.info("roots.changed", version=bundle.version, roots=len(bundle.certificates))
        self._bundle = bundle
        self._publish()

    def take_policies(self, policies: Policies | None) -> None:
        """Offer this policy set; None offers none, and an Envoy that has none denies by itself."""
        self._policies = policies
        self._publish()

    def renewal_failed(self, error: MeshcaError) -> None:
        """Remember why there is no newer certificate."""
        self._failure = str(error)

    def problem(self) -> str:
        """Why this workload is not ready; empty when a valid certificate and roots are offered."""
        now = self._clock.now()
        if self._svid is None:
            return f"no certificate yet: {self._failure}"
        if not (self._offered and self._svid.valid(now)):
            return f"the certificate is not valid now: {self._failure or 'compare the clock'}"
        if self._bundle is None or self._bundle.expired(now):
            return "no valid root certificates"
        return ""

    async def ready(self, type_url: str, names: Collection[str]) -> None:
        """Put right what time has changed before names are looked up."""
        del type_url, names
        self._follow_time()

    async def run(self) -> NoReturn:
        """Take off what is not valid any more; put back what is valid again."""
        while True:
            await self._clock.sleep(CHECK_SECONDS)
            self._follow_time()

    def _follow_time(self) -> None:
        """Offer the certificate exactly while it is valid: wall time may jump, forth and back."""
        now = self._clock.now()
        if self._svid is None or self._offered == self._svid.valid(now):
            return
        fields = {"spiffe_id": str(self._svid.identity), "serial": self._svid.serial}
        if not self._offered:
            log.warning("certificate.valid_again", **fields)
        elif ended(self._svid.not_after, now):
            log.error("certificate.expired", **fields)
        else:
            log.error("certificate.not_yet_valid", **fields)
        self._publish()

    def _publish(self) -> None:
        secrets = [*self._certificates(self._clock.now()), *self._roots()]
        self.replace(SECRET_TYPE_URL, secrets)
        self.replace(EXTENSION_TYPE_URL, [resources.policies(self._policies.body)] if self._policies else [])

    def _certificates(self, now: datetime) -> list[Resource]:
        self._offered = self._svid is not None and self._svid.valid(now)
        if self._svid is None or not self._offered:
            return []
        pair = KeyPair(
            serial=self._svid.serial,
            chain=self._svid.chain,
            key=self._svid.private,
            not_before=self._svid.not_before,
            not_after=self._svid.not_after,
        )
        return [resources.certificate(name, pair) for name in self.leaf_names()]

    def _roots(self) -> list[Resource]:
        if self._bundle is None:
            return []
        bundle = TrustBundle(pem=self._bundle.pem)
        return [resources.roots(name, bundle) for name in self.root_names()]

    def leaf_names(self) -> tuple[str, ...]:
        """The names under which the certificate is offered."""
        return (DEFAULT, str(self._svid.identity)) if self._svid else (DEFAULT,)

    def root_names(self) -> tuple[str, ...]:
        """The names under which the roots are offered."""
        return (ROOTCA, self._svid.identity.trust_domain.id) if self._svid else (ROOTCA,)

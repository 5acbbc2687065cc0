"""One try at a certificate: new key, request, answer, check. By certificate first, then by token.

Must never keep an answer that did not pass `accept`, never show a proof again in the same try once the CA has
judged it, and never take roots from an answer that leads to a root held already.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from meshca.agent.bundle import Bundle, parse_bundle
from meshca.agent.keys import FreshKey, KeyChoice, fresh_key
from meshca.agent.svid import Expected, Svid, accept, answered_roots
from meshca.agent.trust import Trust
from meshca.clock import Clock
from meshca.errors import BadRequest, Exhausted, MeshcaError, Unavailable
from meshca.log import log


class Ca(Protocol):
    """The two ways to ask for a certificate; answers are unverified."""

    async def by_token(self, csr: str) -> Sequence[str]:
        """Ask with the workload's token."""
        ...

    async def by_certificate(self, csr: str, svid: Svid) -> Sequence[str]:
        """Ask with a certificate that is still valid."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuer:
    """Gets certificates from a CA.

    Attributes:
        ca: where to ask.
        trust: what answers are checked against.
        clock: the time for the checks.
        key: the kind of key to make.
        renew_by_certificate: whether the CA has a port for that.
    """

    ca: Ca
    trust: Trust
    clock: Clock
    key: KeyChoice
    renew_by_certificate: bool

    async def issue(self, held: Svid | None, expected: Expected) -> Svid:
        """A new certificate for a new key.

        Args:
            held: the certificate we have, if any; the first way to ask while it is valid.
            expected: whom the new one must name.

        Raises:
            MeshcaError: neither way gave an acceptable certificate; what the last way said.
        """
        fresh = await self._fresh_key(expected)
        if held is not None and self.renew_by_certificate and held.valid(self.clock.now()):
            try:
                return self._accept(await self.ca.by_certificate(fresh.csr, held), fresh, expected)
            except (Exhausted, BadRequest):
                raise  # the CA is busy, or the request itself is wrong: the token would not change that
            except MeshcaError as error:
                log.info("certificate.fallback_to_token", reason=error.reason, detail=error.detail)
        return self._accept(await self.ca.by_token(fresh.csr), fresh, expected)

    async def _fresh_key(self, expected: Expected) -> FreshKey:
        """RSA would stall the loop, so it has a thread; EC takes less time than to wait for one."""
        if self.key is KeyChoice.RSA_2048:
            return await asyncio.to_thread(fresh_key, self.key, expected.identity)
        return fresh_key(self.key, expected.identity)

    def _accept(self, answer: Sequence[str], fresh: FreshKey, expected: Expected) -> Svid:
        now = self.clock.now()
        if self.trust.takes_first:
            roots = parse_bundle(answered_roots(answer), now)
            svid = accept(answer, fresh, roots, expected, now)
            self.trust.first(roots)  # only now: one bad answer must not pin bad roots
            return svid
        held = self.trust.bundle
        if held is None:
            raise Unavailable("bad_bundle", "no root is held to check the certificate with")
        try:
            return accept(answer, fresh, held, expected, now)
        except Unavailable as error:
            newer = self._newer_roots(answer, held, now) if error.reason == "untrusted_chain" else None
            if newer is None:
                raise
        svid = accept(answer, fresh, newer, expected, now)
        log.warning("trust.followed", roots=newer.version)
        self.trust.learn(newer)
        return svid

    def _newer_roots(self, answer: Sequence[str], held: Bundle, now: datetime) -> Bundle | None:
        """The roots of an answer that came over a channel which a held root vouches for, by the rule for a push.

        An agent that was away while the root was changed has no certificate to open its stream with, and could
        learn of the new root in no other way (ADR 6). None when they share no root with those held, or are no
        bundle.
        """
        try:
            newer = parse_bundle(answered_roots(answer), now)
        except Unavailable:
            return None
        return newer if newer.shares_a_root_with(held) else None


def due(svid: Svid, fraction: float) -> datetime:
    """When to renew: at this fraction of the life that was left when the certificate was received."""
    return svid.received_at + (svid.not_after - svid.received_at) * fraction

"""A plugged-in CA: certificates and key that somebody else puts into a folder, and changes there.

Reads and checks; whether new material may come into force is `rotation`'s decision. `ca-crl.pem` is not read:
revocation lists are not supported yet.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from meshca.authority.faults import find_faults
from meshca.authority.upstream import Offer
from meshca.clock import Clock
from meshca.config.upstream import FilesConfig
from meshca.errors import ConfigError
from meshca.identity.spiffe_id import TrustDomain
from meshca.upstream.ca_set import read_ca_set
from meshca.upstream.cacerts_folder import Look, look

POLL_SECONDS = 0.25  # a change is live within a second; one look costs four small reads


@asynccontextmanager
async def open_(config: FilesConfig, *, trust_domain: TrustDomain, clock: Clock) -> AsyncIterator[Files]:
    """Read the folder once, so that a bad one stops the start.

    Raises:
        ConfigError: with every fault of every file.
    """
    upstream = Files(config.dir, trust_domain, clock)
    await upstream.obtain()
    yield upstream


class Files:
    """Implements `authority.upstream.Upstream`; use `open_`."""

    def __init__(self, folder: Path, trust_domain: TrustDomain, clock: Clock) -> None:
        self._folder = folder
        self._trust_domain = trust_domain
        self._clock = clock
        self._seen = ""

    async def obtain(self) -> Offer:
        """What is in the folder now.

        Raises:
            ConfigError: with every fault of every file.
        """
        seen = look(self._folder)
        self._seen = seen.digest
        problems = list(seen.problems)
        ca = read_ca_set(seen.layout, seen.contents, problems)
        problems += find_faults(ca.certificates, ca.roots, ca.key, self._trust_domain, self._clock.now())
        if problems:
            raise ConfigError(str(self._folder), problems)
        return Offer(material=ca.material(), renew_at=None)

    async def changed(self) -> None:
        """Return when the folder differs from what `obtain` saw and, unless it changed at once, is at rest."""
        while True:
            await self._clock.sleep(POLL_SECONDS)
            now = look(self._folder)
            if now.digest == self._seen:
                continue
            if now.projected or await self._at_rest(now):
                return

    async def _at_rest(self, before: Look) -> bool:
        await self._clock.sleep(POLL_SECONDS)
        return look(self._folder).digest == before.digest

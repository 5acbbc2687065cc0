"""A plugged-in CA: certificates and key that somebody else puts into a folder, and changes there.

Reads and checks; whether new material may come into force is `rotation`'s decision. `ca-crl.pem` is not read:
revocation lists are not supported yet.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from cryptography import x509

from meshca.authority.faults import find_faults
from meshca.authority.material import SigningMaterial, read_certificates, read_key
from meshca.authority.upstream import Offer
from meshca.clock import Clock
from meshca.config.upstream import FilesConfig
from meshca.errors import ConfigError
from meshca.identity.spiffe_id import TrustDomain
from meshca.svid.signature import SigningKey
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
        certificates = _certificates(seen, seen.layout.certificate, problems)
        chain = _certificates(seen, seen.layout.chain, problems)
        roots = _certificates(seen, seen.layout.roots, problems)
        key = _key(seen, problems)
        certificates += chain if certificates else []
        problems += find_faults(certificates, roots, key, self._trust_domain, self._clock.now())
        if problems or key is None:
            raise ConfigError(str(self._folder), problems)
        signing, *others = dict.fromkeys(certificates)
        return Offer(
            material=SigningMaterial(certificate=signing, others=tuple(others), roots=tuple(roots), key=key),
            renew_at=None,
        )

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


def _certificates(seen: Look, name: str, problems: list[str]) -> list[x509.Certificate]:
    """The certificates in a file; a fault goes to the problems. The chain may be empty, as Istio's can."""
    if name not in seen.contents or (name == seen.layout.chain and not seen.contents[name].strip()):
        return []
    try:
        return read_certificates(seen.contents[name], name)
    except ConfigError as error:
        problems += [f"{name}: {problem}" for problem in error.problems]
        return []


def _key(seen: Look, problems: list[str]) -> SigningKey | None:
    """The key in its file; a fault goes to the problems."""
    if seen.layout.key not in seen.contents:
        return None
    try:
        return read_key(seen.contents[seen.layout.key], seen.layout.key)
    except ConfigError as error:
        problems += [f"{seen.layout.key}: {problem}" for problem in error.problems]
        return None

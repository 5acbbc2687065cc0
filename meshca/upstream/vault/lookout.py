"""Sees the mount, ever and again: what was seen last stays while it cannot be seen.

It costs no login. Must never sign, nor keep anything but which roots count; and must never ask a server that
failed sooner than `upstream.vault.patience` says, whoever wants to see it.
"""

from __future__ import annotations

import asyncio
import math
import random
from datetime import datetime

from meshca.authority.material import certificate_id
from meshca.backoff import JITTER
from meshca.clock import Clock
from meshca.config.vault import VaultConfig
from meshca.errors import MeshcaError, Unavailable
from meshca.upstream.seen import Seen
from meshca.upstream.vault.client import Client
from meshca.upstream.vault.custody import Custody, known_roots
from meshca.upstream.vault.faults import Fault, count, counted, failure
from meshca.upstream.vault.mount import Issuer, Look, look
from meshca.upstream.vault.patience import Patience
from meshca.upstream.vault.sight import Sight, judged
from meshca.upstream.vault.trust import MeshRoots


class Lookout:
    """Over one mount.

    Args:
        config: which issuer, which roots, and how often to look.
        client: asks without a token.
        custody: keeps which roots count.
        mesh_roots: what the mesh trusts already, for `accept: first_use`.
        clock: for pauses.
        rng: the source of jitter.

    Attributes:
        sight: as it was seen last; None before that.
        reached_at: when.
    """

    sight: Sight | None = None
    reached_at: datetime | None = None

    def __init__(  # noqa: PLR0913 - its parts, by name
        self,
        config: VaultConfig,
        *,
        client: Client,
        custody: Custody,
        mesh_roots: MeshRoots,
        clock: Clock,
        rng: random.Random = JITTER,
    ) -> None:
        self._config = config
        self._client = client
        self._custody = custody
        self._mesh_roots = mesh_roots
        self._clock = clock
        self._seen = Seen()
        self._unseen: MeshcaError = failure(Fault.UNREACHABLE, "it was not looked at yet")
        self._patience = Patience(clock, rng)

    @property
    def current(self) -> str:
        """The id of the root above the issuer that signs, as it was seen last; empty when it does not count."""
        return "" if self.sight is None or self.sight.root is None else certificate_id(self.sight.root)

    async def look(self) -> Sight:
        """See what there is now; what was seen before stays when that fails.

        Raises:
            ConfigError: the file of roots cannot be used, or which roots count is kept and cannot be read.
            Unavailable: reason `vault_<fault>`, or which roots count cannot be kept.
        """
        try:
            sight = await self._sighted()
            if sight.roots and tuple(await self._custody.named([])) != sight.roots:
                await self._custody.name(sight.roots)
        except MeshcaError as error:
            self._unseen = error
            self._seen.note(error.reason)
            raise
        self.sight = sight
        self._seen.note(sight.digest)
        return sight

    async def fit(self) -> Sight:
        """What may be signed by: who does not show the mount is asked to sign nothing.

        Raises:
            ConfigError, Unavailable: as `look`, where none has seen the mount.
            Unavailable: as the last look, when that failed.
        """
        if self.sight is None:
            return await self.look()
        self._patience.check_over()
        return self.sight

    def issuer(self, signer: str) -> Issuer | None:
        """The issuer of this name and key, as the mount was seen last.

        Raises:
            Unavailable: as the last look, while none has seen the mount.
        """
        if self.sight is None:
            raise Unavailable(self._unseen.reason, self._unseen.detail)
        return self.sight.issuer(signer)

    async def changed(self, until: float = math.inf) -> None:
        """Return when the mount, the file of roots or the server's being there differs from what the driver saw.

        That is what `look` saw first since this ended last (`upstream.seen`).

        Args:
            until: when to return at the latest, by the clock's monotonic seconds.
        """
        with self._seen.watched() as seen:
            while True:
                pause, left = self._pause(), until - self._clock.monotonic()
                await self._clock.sleep(max(min(pause, left), 0.0))
                if left <= pause or await self._digest() != seen:
                    return

    async def _digest(self) -> str:
        """Of what there is now, or why that is not known."""
        try:
            return (await self._sighted()).digest
        except MeshcaError as error:
            return error.reason

    def _pause(self) -> float:
        """Seconds until the next look."""
        return self._patience.left if self._patience.failures else self._config.poll.total_seconds()

    async def _sighted(self) -> Sight:
        found = await self._found()
        config, known = self._config.roots, await known_roots(self._custody, self._config.roots)
        mesh = await self._mesh_roots() if config.accept == "first_use" else ()
        now = self._clock.now()
        sight = await asyncio.to_thread(judged, config, found, known=known, mesh=mesh, now=now)
        count(sight.problem)
        return sight

    async def _found(self) -> Look:
        self._patience.check()
        with counted():
            try:
                found = await look(self._client, self._config.mount, self._config.issuer)
            except Unavailable as error:
                self._patience.failed(error)
                raise
        self._patience.succeeded()
        self.reached_at = self._clock.now()
        return found

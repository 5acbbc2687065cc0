"""The server's own TLS certificate: made by each worker for itself, shown to clients, renewed in time.

Signed by the serving slot, below the oldest root that counts, and shown with that root: who knows no newer one
still verifies us. Renewed at half of its life by the clock on the wall, and at once when a signer or the roots
change, so that what the ports show and trust always belongs to the roots in force. A renewal that fails keeps the
certificate that is there and is tried again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from meshca import metrics
from meshca.app.own_leaves import OwnLeaves
from meshca.authority.signing import Authority
from meshca.clock import Clock, pause
from meshca.errors import MeshcaError
from meshca.ledger.port import LedgerStore
from meshca.log import log
from meshca.validity import begun
from meshca.wire.tls import Serving, ServingMaterial

RETRY: Final = timedelta(seconds=5)
LOOK: Final = timedelta(minutes=1)  # one sleep at most: a clock that is set right changes what is due
FLOOR: Final = timedelta(minutes=1)  # between renewals below a signer that ends soon; each is recorded
RULE: Final = "serving"


class ServingCertificate:
    """Makes and renews the certificate of one worker.

    Args:
        authority: signs it.
        ledger: where it is recorded, like every signature.
        names: that clients call the server by.
        lifetime: of each certificate.
        clock: for its validity and for waiting.
        request_id: what the ledger shows in place of a client's request.

    Attributes:
        leaf: PEM of the newest certificate; empty before the first.
    """

    def __init__(  # noqa: PLR0913 - parts, by name
        self,
        *,
        authority: Authority,
        ledger: LedgerStore,
        names: Sequence[str],
        lifetime: timedelta,
        clock: Clock,
        request_id: str,
    ) -> None:
        self._authority = authority
        self._leaves = OwnLeaves(authority=authority, ledger=ledger, clock=clock, rule=RULE, request_id=request_id)
        self._names = names
        self._lifetime = lifetime
        self._clock = clock
        self._signer_changed = asyncio.Event()
        self._begins = self._renew_at = clock.now()
        self.leaf = ""

    async def make(self) -> ServingMaterial:
        """A fresh key and certificate, recorded before it is signed.

        Raises:
            ConfigError: a name is no DNS name or IP address.
            Unavailable: no signer, or the ledger cannot be written; nothing was signed.
        """
        self._signer_changed.clear()
        now = self._clock.now()
        root = (
            self._authority.current_serving().root
        )  # of the slot that drafts below, before anybody else has a turn
        private_key, issued = await self._leaves.make(self._names, self._lifetime)
        self.leaf = issued.chain[0]
        metrics.expires("serving", issued.not_after)
        self._begins = issued.not_before
        self._renew_at = now + max((issued.not_after - now) / 2, min(FLOOR, self._lifetime / 2))
        log.info("serving.renewed", serial=issued.serial, not_after=issued.not_after.isoformat())
        return ServingMaterial(chain="".join((*issued.chain, root)), key=private_key, client_roots=issued.roots)

    def signer_changed(self) -> None:
        """Renew now: another signer, or other roots, are in force."""
        self._signer_changed.set()

    async def run(self, serving: Serving) -> None:
        """Renew for ever."""
        failed = False
        while True:
            wait = RETRY if failed else min(self._renew_at - self._clock.now(), LOOK)
            await pause(self._clock, wait.total_seconds(), self._signer_changed)
            if not failed and not self._due():
                continue
            try:
                serving.replace(await self.make())
            except MeshcaError as error:
                log.error("serving.renewal_failed", reason=error.reason, detail=error.detail)
                failed = True
            else:
                failed = False

    def _due(self) -> bool:
        """Whether it is half over, the signer has changed, or a clock was set back to before it begins."""
        now = self._clock.now()
        return self._signer_changed.is_set() or now >= self._renew_at or not begun(self._begins, now)

"""The server's own TLS certificate: made by each worker for itself, shown to clients, renewed in time.

Renewed at half of its life by the clock on the wall, and at once when the signer changes, so that what the ports
show and trust always belongs to the roots in force. A renewal that fails keeps the certificate that is there and
is tried again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from meshca import csr, metrics
from meshca.authority.signing import Authority
from meshca.clock import Clock
from meshca.csr import ProvenKey
from meshca.errors import MeshcaError
from meshca.identity.key_type import KeyType
from meshca.ledger.port import LedgerStore
from meshca.ledger.record import Intent, Outcome, Result
from meshca.log import log
from meshca.svid.draft import Draft, Issued
from meshca.validity import begun
from meshca.wire.tls import Serving, ServingMaterial

RETRY: Final = timedelta(seconds=5)
LOOK: Final = timedelta(minutes=1)  # one sleep at most: a clock that is set right changes what is due
FLOOR: Final = timedelta(minutes=1)  # between renewals below a signer that ends soon; each is recorded
PROVEN_BY: Final = "self"
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
        self._ledger = ledger
        self._names = names
        self._lifetime = lifetime
        self._clock = clock
        self._request_id = request_id
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
        private_key, key = csr.fresh_key(KeyType.EC_P256)
        now = self._clock.now()
        draft = self._authority.draft_serving(key.public_key, self._names, now, self._lifetime)
        await self._ledger.intend(self._intent(draft, key, now))
        issued = self._sign(draft)
        self._ledger.finish(Outcome(serial=issued.serial, result=Result.ISSUED, finished_at=self._clock.now()))
        self.leaf = issued.chain[0]
        metrics.expires("serving", issued.not_after)
        self._begins = issued.not_before
        self._renew_at = now + max((issued.not_after - now) / 2, min(FLOOR, self._lifetime / 2))
        log.info("serving.renewed", serial=issued.serial, not_after=issued.not_after.isoformat())
        return ServingMaterial(
            chain="".join((*issued.chain, issued.roots)), key=private_key, client_roots=issued.roots
        )

    def signer_changed(self) -> None:
        """Renew now: another signer is in force."""
        self._signer_changed.set()

    async def run(self, serving: Serving) -> None:
        """Renew for ever."""
        failed = False
        while True:
            await self._wait(RETRY if failed else min(self._renew_at - self._clock.now(), LOOK))
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

    async def _wait(self, pause: timedelta) -> None:
        """Return when the pause is over or the signer has changed."""
        waits = [
            asyncio.ensure_future(self._clock.sleep(pause.total_seconds())),
            asyncio.ensure_future(self._signer_changed.wait()),
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(*waits, return_exceptions=True)

    def _sign(self, draft: Draft) -> Issued:
        """Sign what was recorded; a refusal is recorded too."""
        try:
            return self._authority.sign(draft, self._clock.now())
        except MeshcaError as error:
            failed = Outcome(
                serial=draft.serial, result=Result.FAILED, reason=error.reason, finished_at=self._clock.now()
            )
            self._ledger.finish(failed)
            raise

    def _intent(self, draft: Draft, key: ProvenKey, now: datetime) -> Intent:
        return Intent(
            request_id=self._request_id,
            serial=draft.serial,
            spiffe_id=draft.issuer.trust_domain.id,  # the authority itself (rule ID11)
            proven_by=PROVEN_BY,
            issuer=PROVEN_BY,
            namespace="",
            service_account="",
            proven_at=now,
            key_type=key.key_type,
            key_sha256=key.key_sha256,
            signer=draft.issuer.signer_id,
            rule=RULE,
            intended_at=now,
            not_before=draft.not_before,
            not_after=draft.not_after,
        )

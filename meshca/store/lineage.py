"""What was proven when a certificate was issued, from the ledger; every renewal by certificate asks.

Records never change, so those of issued certificates are remembered.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from meshca.authn.client_cert import Ancestor
from meshca.errors import BadRequest, Unauthenticated
from meshca.identity.caller import BoundObject
from meshca.identity.spiffe_id import SpiffeId
from meshca.ledger.port import LedgerStore
from meshca.ledger.record import Intent, Result

REMEMBERED: Final = 4096  # about 1 KB each


class LedgerLineage:
    """Implements `authn.client_cert.Lineage`."""

    def __init__(self, ledger: LedgerStore, *, remembered: int = REMEMBERED) -> None:
        self._ledger = ledger
        self._size = remembered
        self._known: OrderedDict[str, Ancestor] = OrderedDict()

    async def of(self, serial: str) -> Ancestor:
        """As the port says.

        A record without an outcome counts: the process may have ended after the answer, before the outcome.
        A failed one does not: nobody was given that certificate.
        """
        if (ancestor := self._known.get(serial)) is not None:
            self._known.move_to_end(serial)
            return ancestor
        found = await self._ledger.find(serial)
        if found is None:
            raise Unauthenticated("unknown_serial", f"there is no record of issuing serial {serial}")
        if found.result is Result.FAILED:
            raise Unauthenticated("unknown_serial", f"issuing serial {serial} failed, nobody was given it")
        ancestor = _ancestor(found.intent)
        if found.result is Result.ISSUED:
            self._remember(serial, ancestor)
        return ancestor

    def _remember(self, serial: str, ancestor: Ancestor) -> None:
        self._known[serial] = ancestor
        if len(self._known) > self._size:
            self._known.popitem(last=False)


def _ancestor(intent: Intent) -> Ancestor:
    try:
        identity = SpiffeId.parse(intent.spiffe_id)
    except BadRequest:
        # Such as our own serving certificates.
        raise Unauthenticated("unknown_serial", f"serial {intent.serial} was not issued to a workload") from None
    return Ancestor(
        identity=identity,
        key_sha256=intent.key_sha256,
        not_after=intent.not_after,
        issuer=intent.issuer,
        pod=_bound(intent.pod_name, intent.pod_uid),
        node=_bound(intent.node_name, intent.node_uid),
        token_id=intent.token_id,
        proven_at=intent.proven_at,
        labels=intent.labels,
        requested_by=intent.requested_by,
    )


def _bound(name: str, uid: str) -> BoundObject | None:
    return BoundObject(name=name, uid=uid) if name or uid else None

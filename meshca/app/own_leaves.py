"""Certificates for keys of our own making: recorded before they are signed, like every other.

Used for what the ports show and for what is made for istiod; `authority.serving` says what is in them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from meshca import csr
from meshca.authority.signing import Authority
from meshca.clock import Clock
from meshca.csr import ProvenKey
from meshca.decision import concluded
from meshca.identity.key_type import KeyType
from meshca.ledger.port import LedgerStore
from meshca.ledger.record import Intent
from meshca.secret import Secret
from meshca.svid.draft import Draft, Issued

PROVEN_BY: Final = "self"


class OwnLeaves:
    """Makes them.

    Args:
        authority: signs.
        ledger: where they are recorded.
        clock: for their validity.
        rule: what the ledger shows in place of an admission rule.
        request_id: what it shows in place of a client's request.
        namespace: whose workload it is for; empty for ourselves.
    """

    def __init__(  # noqa: PLR0913 - parts, by name
        self,
        *,
        authority: Authority,
        ledger: LedgerStore,
        clock: Clock,
        rule: str,
        request_id: str,
        namespace: str = "",
    ) -> None:
        self._authority = authority
        self._ledger = ledger
        self._clock = clock
        self._rule = rule
        self._request_id = request_id
        self._namespace = namespace

    async def make(self, names: Sequence[str], lifetime: timedelta) -> tuple[Secret[str], Issued]:
        """A fresh key (PKCS#8 PEM) and its certificate.

        Raises:
            ConfigError: a name is no DNS name or IP address.
            Unavailable: no signer, or the ledger cannot be written; nothing was signed.
        """
        private_key, key = csr.fresh_key(KeyType.EC_P256)
        now = self._clock.now()
        draft = self._authority.draft_serving(key.public_key, names, now, lifetime)
        async with concluded(self._intent(draft, key, now), self._ledger, self._clock):
            return private_key, self._authority.sign(draft, self._clock.now())

    def _intent(self, draft: Draft, key: ProvenKey, now: datetime) -> Intent:
        return Intent(
            request_id=self._request_id,
            serial=draft.serial,
            spiffe_id=draft.issuer.trust_domain.id,  # the authority itself (rule ID11)
            proven_by=PROVEN_BY,
            issuer=PROVEN_BY,
            namespace=self._namespace,
            service_account="",
            proven_at=now,
            key_type=key.key_type,
            key_sha256=key.key_sha256,
            signer=draft.issuer.signer_id,
            rule=self._rule,
            intended_at=now,
            not_before=draft.not_before,
            not_after=draft.not_after,
        )

"""The trace of one issuance: its audit event, its count, and its two entries in the ledger.

Knows how a decision is recorded, not how it is made. What it records of a request are hashes and names that
were proven, never a token, a key or a CSR.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from types import TracebackType
from typing import Any, Final, Self

from meshca import metrics
from meshca.admission.model import Grant
from meshca.clock import Clock
from meshca.csr import ProvenKey
from meshca.errors import BadRequest, Denied, Exhausted, MeshcaError, Unauthenticated
from meshca.identity.caller import Caller
from meshca.ledger.port import LedgerStore
from meshca.ledger.record import Intent, Outcome, Result
from meshca.log import log
from meshca.svid.draft import Draft, Issued

EVENT: Final = "issuance.decided"
RENUMBERED: Final = "renumbered"  # the certificate itself is recorded with the same request id
ISSUED, DENIED, REFUSED, FAILED = "issued", "denied", "refused", "failed"


class Decision:
    """Collects what becomes known of one request; on leaving, counts it and logs it once."""

    def __init__(self, request_id: str, clock: Clock) -> None:
        self._clock = clock
        self._started = clock.monotonic()
        self._request_id = request_id
        self._caller: Caller | None = None
        self._proxy: Caller | None = None
        self._grant: Grant | None = None
        self._key: ProvenKey | None = None
        self._issued: Issued | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        result, reason = outcome_of(error)
        seconds = self._clock.monotonic() - self._started
        metrics.decided(
            result,
            authenticator=self._caller.proven_by if self._caller else "",
            key_type=self._key.key_type if self._key else "",
            reason=reason,
            seconds=seconds,
        )
        fields = {"result": result, "reason": reason, "request_id": self._request_id, **self._facts()}
        fields["milliseconds"] = round(seconds * 1000, 3)
        if isinstance(error, MeshcaError):
            fields["detail"] = error.detail
        (log.error if result is FAILED else log.info)(EVENT, **fields)

    def proves(self, caller: Caller) -> Caller:
        """The caller is proven."""
        self._caller = caller
        return caller

    def certifies_for(self, workload: Caller) -> Caller:
        """The proven caller is a node proxy, and asks for this workload."""
        self._proxy, self._caller = self._caller, workload
        return workload

    def grants(self, grant: Grant) -> Grant:
        """Admission granted this."""
        self._grant = grant
        return grant

    def certifies(self, key: ProvenKey) -> ProvenKey:
        """This key is asked to be certified."""
        self._key = key
        return key

    @property
    def grant(self) -> Grant:
        """What admission granted; only after `grants`."""
        assert self._grant is not None  # noqa: S101 - an error of ours, not of a request
        return self._grant

    def recorded(self, draft: Draft, ledger: LedgerStore) -> AbstractAsyncContextManager[Intent]:
        """The intent of this draft, durable inside the block; on leaving, its outcome is handed to the ledger.

        Whatever ends the block, a cancelled call included, the ledger learns of it: an intent without an
        outcome means that the process died.

        Raises:
            Unavailable, SerialReused: as `LedgerStore.intend`; there is no record, and so no outcome.
        """
        return concluded(self._intent(draft), ledger, self._clock)

    def asked(self, draft: Draft, ledger: LedgerStore) -> AbstractAsyncContextManager[Intent]:
        """As `recorded`, of a draft that somebody else signs by a serial of theirs: no certificate has this one.

        What was given is another record, with the same request id.
        """
        return concluded(self._intent(draft), ledger, self._clock, Result.FAILED, RENUMBERED)

    def given(self, asked: Intent, issued: Issued, ledger: LedgerStore) -> AbstractAsyncContextManager[Intent]:
        """As `recorded`, of what somebody else signed: nobody is given it before its intent is durable."""
        intent = replace(
            asked,
            serial=issued.serial,
            intended_at=self._clock.now(),
            not_before=issued.not_before,
            not_after=issued.not_after,
        )
        return concluded(intent, ledger, self._clock)

    def issues(self, issued: Issued) -> Issued:
        """The certificate is signed and checked."""
        self._issued = issued
        return issued

    def _intent(self, draft: Draft) -> Intent:
        caller, grant, key = self._caller, self._grant, self._key
        assert caller is not None and grant is not None and key is not None  # noqa: S101, PT018 - as above
        return Intent(
            request_id=self._request_id,
            serial=draft.serial,
            spiffe_id=str(grant.identity),
            proven_by=caller.proven_by,
            issuer=caller.issuer,
            namespace=caller.account.namespace,
            service_account=caller.account.name,
            pod_name=caller.pod.name if caller.pod else "",
            pod_uid=caller.pod.uid if caller.pod else "",
            node_name=caller.node.name if caller.node else "",
            node_uid=caller.node.uid if caller.node else "",
            token_id=caller.token_id,
            proven_at=caller.proven_at,
            parent_serial=caller.serial,
            labels=caller.labels,
            key_type=key.key_type,
            key_sha256=key.key_sha256,
            csr_sha256=key.csr_sha256,
            signer=draft.issuer.signer_id,
            rule=grant.rule,
            intended_at=self._clock.now(),
            not_before=draft.not_before,
            not_after=draft.not_after,
            requested_by=str(self._proxy.account) if self._proxy else "",
        )

    def _facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = {}
        if caller := self._caller:
            facts |= {
                "namespace": caller.account.namespace,
                "service_account": caller.account.name,
                "proven_by": caller.proven_by,
                "issuer": caller.issuer,
                "pod": caller.pod.name if caller.pod else "",
                "token_id": caller.token_id,
                "parent_serial": caller.serial,
            }
        if proxy := self._proxy:
            facts |= {
                "requested_by": str(proxy.account),
                "requested_by_pod": proxy.pod.name if proxy.pod else "",
            }
        if grant := self._grant:
            facts |= {"spiffe_id": str(grant.identity), "rule": grant.rule}
        if key := self._key:
            facts |= {"key_type": key.key_type, "key_sha256": key.key_sha256, "csr_sha256": key.csr_sha256}
        if issued := self._issued:
            facts |= {"serial": issued.serial, "not_after": issued.not_after.isoformat()}
        return facts


@contextlib.asynccontextmanager
async def concluded(
    intent: Intent, ledger: LedgerStore, clock: Clock, result: Result = Result.ISSUED, reason: str = ""
) -> AsyncIterator[Intent]:
    """Inside, the intent is durable; on leaving, its outcome is handed over: this, or what an error says.

    Not of an intent that was refused: it has no record, and its serial may be that of another's.

    Raises:
        Unavailable, SerialReused: as `LedgerStore.intend`.
    """

    def outcome(result: Result, reason: str) -> Outcome:
        return Outcome(serial=intent.serial, result=result, reason=reason, finished_at=clock.now())

    durable = False
    try:
        await ledger.intend(intent)
        durable = True
        yield intent
    except BaseException as error:
        if durable or not isinstance(error, MeshcaError):  # a cancelled one may have been written
            ledger.finish(outcome(Result.FAILED, outcome_of(error)[1]))
        raise
    ledger.finish(outcome(result, reason))


def outcome_of(error: BaseException | None) -> tuple[str, str]:
    """The result and the reason that an ending stands for."""
    if error is None:
        return ISSUED, ""
    if isinstance(error, Denied):
        return DENIED, error.reason
    if isinstance(error, Unauthenticated | BadRequest | Exhausted):
        return REFUSED, error.reason
    if isinstance(error, MeshcaError):
        return FAILED, error.reason
    return FAILED, "internal" if isinstance(error, Exception) else "abandoned"

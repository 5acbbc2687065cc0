"""The administrator's service: status and ledger, as far as each administrator may see.

Only ever registered through `admin_entry.Permitted`: it has no authentication of its own. What is of a namespace
that somebody may not see is for them as if it were not there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace

from meshca._proto.meshca.admin.v1 import admin_pb2
from meshca.errors import NotFound
from meshca.ledger.port import LedgerStore
from meshca.ledger.query import Query
from meshca.ledger.record import Issuance
from meshca.rpc.admin_entry import Entered
from meshca.rpc.admin_messages import issuance_message, query_of
from meshca.rpc.roles import Sight
from meshca.rpc.status_messages import status_message
from meshca.rpc.status_report import StatusReport


class Admin:
    """`meshca.admin.v1.Admin`.

    Args:
        status: tells how the server is now.
        ledger: the record of every signature.
    """

    def __init__(self, status: Callable[[], Awaitable[StatusReport]], ledger: LedgerStore) -> None:
        self._status = status
        self._ledger = ledger

    async def GetStatus(  # noqa: N802 - the proto's name
        self, _request: admin_pb2.GetStatusRequest, entered: Entered
    ) -> admin_pb2.Status:
        """How the server is, with the agents that may be seen; the others are counted."""
        report = await self._status()
        shown = tuple(one for one in report.agents if entered.sight.shows_identity(one.spiffe_id))
        hidden = len(report.agents) - len(shown)
        return status_message(replace(report, agents=shown, agents_left_out=report.agents_left_out + hidden))

    async def ListIssuances(  # noqa: N802 - as above
        self, request: admin_pb2.ListIssuancesRequest, entered: Entered
    ) -> AsyncIterator[admin_pb2.Issuance]:
        """Ledger records, newest first.

        Raises:
            BadRequest: a filter is wrong.
            Unavailable: the store cannot be read now.
        """
        for issuance in await self._found(query_of(request), entered.sight):
            yield issuance_message(issuance)

    async def GetIssuance(  # noqa: N802 - as above
        self, request: admin_pb2.GetIssuanceRequest, entered: Entered
    ) -> admin_pb2.Issuance:
        """One record.

        Raises:
            NotFound: reason `serial`: there is none, or none that may be seen.
            Unavailable: the store cannot be read now.
        """
        found = await self._ledger.find(request.serial)
        if found is None or not entered.sight.shows(found.intent.namespace):
            raise NotFound("serial", "the ledger has no such record")
        return issuance_message(found)

    async def _found(self, query: Query, sight: Sight) -> Sequence[Issuance]:
        """What a query finds in the namespaces that may be seen."""
        if sight.namespaces is None:
            return await self._ledger.query(query)
        seen = sorted(name for name in sight.namespaces if query.namespace in {None, name})
        answers = await asyncio.gather(*(self._ledger.query(replace(query, namespace=name)) for name in seen))
        every = [issuance for answer in answers for issuance in answer]
        every.sort(key=lambda one: (one.intent.intended_at, one.intent.serial), reverse=True)
        return every[: query.limit]

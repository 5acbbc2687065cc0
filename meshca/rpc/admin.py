"""The administrator's service: status and ledger, for whoever the socket's gate lets in.

Only ever served on the local socket: it has no authentication of its own, and it shows every identity issued.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

from meshca._proto.meshca.v1 import admin_pb2
from meshca._proto.meshca.v1.admin_pb2_grpc import AdminServicer
from meshca.errors import NotFound
from meshca.ledger.port import LedgerStore
from meshca.rpc.admin_messages import issuance_message, query_of
from meshca.rpc.status_messages import status_message
from meshca.rpc.status_report import StatusReport
from meshca.wire.open_calls import Context


class Admin(AdminServicer):
    """`meshca.v1.Admin`.

    Args:
        status: tells how the server is now.
        ledger: the record of every signature.
    """

    def __init__(self, status: Callable[[], Awaitable[StatusReport]], ledger: LedgerStore) -> None:
        self._status = status
        self._ledger = ledger

    async def GetStatus(  # noqa: N802 - the proto's name
        self, _request: admin_pb2.GetStatusRequest, _context: Context
    ) -> admin_pb2.Status:
        """How the server is."""
        return status_message(await self._status())

    async def ListIssuances(  # noqa: N802 - as above
        self, request: admin_pb2.ListIssuancesRequest, _context: Context
    ) -> AsyncIterator[admin_pb2.Issuance]:
        """Ledger records, newest first.

        Raises:
            BadRequest: a filter is wrong.
            Unavailable: the store cannot be read now.
        """
        for issuance in await self._ledger.query(query_of(request)):
            yield issuance_message(issuance)

    async def GetIssuance(  # noqa: N802 - as above
        self, request: admin_pb2.GetIssuanceRequest, _context: Context
    ) -> admin_pb2.Issuance:
        """One record.

        Raises:
            NotFound: reason `serial`.
            Unavailable: the store cannot be read now.
        """
        found = await self._ledger.find(request.serial)
        if found is None:
            raise NotFound("serial", f"no certificate with serial {request.serial!r} is recorded")
        return issuance_message(found)

"""Stands in for the connection to a running server, for tests of commands."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from meshca.errors import NotFound
from meshca.ledger.query import Query
from meshca.ledger.record import Issuance
from meshca.rpc.status_report import StatusReport
from tests.fakes.reports import report


class FakeAdminClient:
    """Answers from memory, and remembers what it was asked.

    Attributes:
        path: of the socket that a command connected to.
        asked: queries and serials.
    """

    def __init__(self) -> None:
        self.report: StatusReport = report()
        self.records: list[Issuance] = []
        self.path: Path | None = None
        self.asked: list[Query | str] = []

    @contextlib.asynccontextmanager
    async def connect(self, path: Path) -> AsyncIterator[FakeAdminClient]:
        """Instead of `meshca.app.admin_client.connect`."""
        self.path = path
        yield self

    async def status(self) -> StatusReport:
        """What the test prepared."""
        return self.report

    async def issuances(self, query: Query) -> list[Issuance]:
        """What the test prepared, as many as asked for."""
        self.asked.append(query)
        return self.records[: query.limit]

    async def issuance(self, serial: str) -> Issuance:
        """The record with this serial."""
        self.asked.append(serial)
        for record in self.records:
            if record.intent.serial == serial:
                return record
        raise NotFound("serial", "the ledger has no such record")

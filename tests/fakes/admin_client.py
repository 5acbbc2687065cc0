"""Stands in for the connection to a running server, for tests of commands."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from meshca.authority.history import Bundle, Change, Record, Request
from meshca.errors import MeshcaError, NotFound
from meshca.ledger.query import Query
from meshca.ledger.record import Issuance
from meshca.rotation.report import Forecast, ForecastStep, RootReport
from meshca.rpc.root_messages import Answer, Exported
from meshca.rpc.status_report import StatusReport
from tests.fakes.reports import report
from tests.fakes.root_reports import bundle, change, root_report


class FakeAdminClient:
    """Answers from memory, and remembers what it was asked.

    Attributes:
        path: of the socket that a command connected to.
        asked: queries and serials.
        roots: what is asked about roots.
    """

    def __init__(self) -> None:
        self.report: StatusReport = report()
        self.records: list[Issuance] = []
        self.roots = FakeRootClient()
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


class FakeRootClient:
    """Answers about roots from memory, and remembers what it was asked.

    Attributes:
        asked: name and arguments of each act, approval and question with arguments.
        refusal: raised by acts and approvals.
        watched: what each watcher is told; an error ends it so, and so does the end of the list in peace.
    """

    def __init__(self) -> None:
        self.status: RootReport = root_report()
        self.kept: list[Record] = [one.record for one in self.status.authorities]
        self.history: list[Change] = [change()]
        self.exported = Exported(bundle=bundle(), pem="PEM 1\nPEM 2\n", spiffe_json='{"keys": []}')
        self.foreseen = Forecast(
            steps=(ForecastStep(says="now: make a root"), ForecastStep(says="then: sign below it"))
        )
        self.bundled: list[Bundle] = [bundle()]
        self.waiting: list[Request] = []
        self.answer = Answer()
        self.refusal: MeshcaError | None = None
        self.watched: list[list[RootReport | BaseException]] = []
        self.asked: list[tuple[str, dict[str, Any]]] = []

    async def report(self) -> RootReport:
        """How the roots stand."""
        return self.status

    async def records(self, *, intermediates: bool = False) -> Sequence[Record]:
        """What is kept."""
        return self.kept

    async def changes(self, *, authority: str = "", limit: int = 0) -> Sequence[Change]:
        """What was done."""
        self.asked.append(("changes", {"authority": authority, "limit": limit}))
        return self.history

    async def export(self, sequence: int | None = None) -> Exported:
        """A bundle."""
        self.asked.append(("export", {"sequence": sequence}))
        return self.exported

    async def forecast(
        self, *, compromised: bool = False, window: timedelta | None = None, root: str = ""
    ) -> Forecast:
        """What would be done."""
        self.asked.append(("forecast", {"compromised": compromised, "window": window, "root": root}))
        return self.foreseen

    async def foresee(self, act: str, root: str, reason: str, window: timedelta | None = None) -> Forecast:
        """What a forced act would do."""
        self.asked.append(("foresee", {"act": act, "root": root, "reason": reason, "window": window}))
        return self.foreseen

    async def foresee_request(self, request: str) -> Forecast:
        """What one that waits would do."""
        self.asked.append(("foresee", {"request": request}))
        return self.foreseen

    async def bundles(self) -> Sequence[Bundle]:
        """Which roots were given out."""
        return self.bundled

    async def prepare(self, *, same_key: bool, reason: str) -> Answer:
        """An act."""
        return self._act("prepare", same_key=same_key, reason=reason)

    async def activate(self, root: str, *, force: bool, reason: str) -> Answer:
        """An act."""
        return self._act("activate", root=root, force=force, reason=reason)

    async def taint(self, root: str, *, window: timedelta | None, reason: str) -> Answer:
        """An act."""
        return self._act("taint", root=root, window=window, reason=reason)

    async def retire(self, root: str, *, force: bool, reason: str) -> Answer:
        """An act."""
        return self._act("retire", root=root, force=force, reason=reason)

    async def rotate(self, *, compromised: bool, window: timedelta | None, reason: str, root: str = "") -> Answer:
        """An act."""
        return self._act("rotate", compromised=compromised, window=window, reason=reason, root=root)

    async def pause(self, *, compromised: bool, reason: str) -> Answer:
        """An act."""
        return self._act("pause", compromised=compromised, reason=reason)

    async def resume(self, *, compromised: bool, reason: str) -> Answer:
        """An act."""
        return self._act("resume", compromised=compromised, reason=reason)

    async def abort(self, *, compromised: bool, reason: str) -> Answer:
        """An act."""
        return self._act("abort", compromised=compromised, reason=reason)

    async def requests(self) -> Sequence[Request]:
        """What waits."""
        return self.waiting

    async def approve(self, request: str, *, reason: str, shown: Forecast) -> Answer:
        """An act of two."""
        return self._act("approve", request=request, reason=reason, shown=shown)

    async def withdraw(self, request: str) -> Request:
        """What the test put in first."""
        self._act("withdraw", request=request)
        return self.waiting[0]

    async def deny(self, request: str, *, reason: str) -> Request:
        """What the test put in first."""
        self._act("deny", request=request, reason=reason)
        return self.waiting[0]

    async def watch(self) -> AsyncIterator[RootReport]:
        """What the test prepared for the next watcher."""
        for one in self.watched.pop(0):
            if isinstance(one, BaseException):
                raise one
            yield one

    def _act(self, name: str, **arguments: Any) -> Answer:
        self.asked.append((name, arguments))
        if self.refusal is not None:
            raise self.refusal
        return self.answer

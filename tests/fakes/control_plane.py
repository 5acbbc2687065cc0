"""The CA's side of the agents' stream: the real xDS engine over a shelf that a test fills.

What agents say comes back as notices, in order, and a test waits for the one it expects.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from meshca.clock import SystemClock
from meshca.config.resource_names import AUTHZ, EXTENSION_TYPE_URL, ORDER, ORDER_TYPE_URL, ROOTCA, SECRET_TYPE_URL
from meshca.discovery import resources
from meshca.discovery.event import Resource
from meshca.discovery.order import RenewalOrder
from meshca.discovery.resources import TrustBundle
from meshca.discovery.source import Shelf
from meshca.errors import MeshcaError
from meshca.wire.xds_services import AGGREGATED, add_service
from meshca.wire.xds_streams import Context, Notice, Streams, Terms

SECONDS = 10  # a test that waits longer has failed


class ControlPlane:
    """Pushes what is on its shelf to every agent.

    Attributes:
        notices: what happened on the streams.
        refusal: what new streams are refused with; None lets them in.
    """

    def __init__(self) -> None:
        self.shelf = Shelf()
        self.notices: list[Notice] = []
        self.refusal: MeshcaError | None = None
        self._streams = Streams(SystemClock())
        self._news = asyncio.Condition()

    def add_to(self, server: Any) -> None:
        """Serve on this server; an `extra` of `serving_ca`."""
        add_service(server, AGGREGATED, self._streams, self._admit)

    def push_roots(self, pem: str) -> str:
        """Push a bundle; gives its version."""
        return self._put(SECRET_TYPE_URL, resources.roots(ROOTCA, TrustBundle(pem=pem)))

    def push_policies(self, body: bytes) -> str:
        """Push a policy set; gives its version."""
        return self._put(EXTENSION_TYPE_URL, resources.policies(body))

    def push_order(self, order: RenewalOrder) -> str:
        """Push an order to renew; gives its version."""
        return self._put(ORDER_TYPE_URL, resources.order(order))

    def push_raw(self, type_url: str, body: bytes) -> str:
        """Push anything in place of a resource."""
        name = {SECRET_TYPE_URL: ROOTCA, ORDER_TYPE_URL: ORDER}.get(type_url, AUTHZ)
        return self._put(type_url, Resource(name=name, version=resources.content_hash(body), body=body))

    def end_streams(self, error: MeshcaError) -> None:
        """End every stream; new ones are welcome."""
        self._streams.end_all(error)
        self._streams._closing = None

    async def heard(self, wanted: Callable[[Notice], bool], *, since: int = 0) -> Notice:
        """The first notice, past the given number, that a test waits for."""
        async with asyncio.timeout(SECONDS), self._news:
            while True:
                for notice in self.notices[since:]:
                    if wanted(notice):
                        return notice
                await self._news.wait()

    def _put(self, type_url: str, resource: Resource) -> str:
        self.shelf.put(type_url, [resource])
        return resource.version

    async def _admit(self, _: Context) -> Terms:
        if self.refusal is not None:
            raise self.refusal
        return Terms(source=self.shelf, observer=self._observe)

    def _observe(self, notice: Notice) -> None:
        self.notices.append(notice)
        asyncio.get_running_loop().create_task(self._tell())

    async def _tell(self) -> None:
        async with self._news:
            self._news.notify_all()

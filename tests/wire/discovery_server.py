"""A server of one source's xDS streams, and what it was told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from meshca.config.resource_names import SECRET_TYPE_URL
from meshca.discovery.event import Event, Resource
from meshca.discovery.source import Shelf
from meshca.wire.xds_streams import Context, Notice, Streams, Terms
from tests.fakes.clock import FakeClock
from tests.fakes.xds_client import SDS

VARIANTS = pytest.mark.parametrize("method", [SDS + "StreamSecrets", SDS + "DeltaSecrets"], ids=["sotw", "delta"])


def res(name: str, version: str) -> Resource:
    """A resource whose body says what it is."""
    return Resource(name=name, version=version, body=f"{name} {version}".encode())


@dataclass
class Server:
    """A CA's or agent's discovery side, and what it was told."""

    clock: FakeClock = field(default_factory=FakeClock)
    shelf: Shelf = field(default_factory=Shelf)
    notices: list[Notice] = field(default_factory=list)
    node_required: bool = True
    refuse: Exception | None = None
    lifetime: timedelta | None = None
    told: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.streams = Streams(self.clock, answer_timeout=10)

    async def admit(self, _context: Context) -> Terms:
        """Everybody is welcome, unless the test says otherwise."""
        if self.refuse is not None:
            raise self.refuse
        until = None if self.lifetime is None else self.clock.now() + self.lifetime
        return Terms(source=self.shelf, observer=self.observe, until=until, node_required=self.node_required)

    def observe(self, notice: Notice) -> None:
        """Remember."""
        self.notices.append(notice)
        self.told.set()

    def put(self, *resources: Resource, type_url: str = SECRET_TYPE_URL) -> None:
        """Publish."""
        self.shelf.put(type_url, resources)

    async def until(self, wanted: Callable[[Event], bool]) -> Notice:
        """The first notice of such an event, waiting for it."""
        async with asyncio.timeout(10):
            while True:
                for notice in self.notices:
                    if wanted(notice.event):
                        return notice
                self.told.clear()
                await self.told.wait()

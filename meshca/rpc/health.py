"""gRPC's health service: whoever reaches it is served, and is told otherwise only by the end of its call.

grpc_health's own servicer writes to a watcher while it holds the lock of all watchers, so one that does not read
stops the others, and the drain that wants to tell them. Here nobody waits for anybody: while the server drains, a
watch ends with UNAVAILABLE like every stream, and a check is refused like every call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Final

from grpc_health.v1.health_pb2 import (
    HealthCheckRequest,
    HealthCheckResponse,
    HealthListRequest,
    HealthListResponse,
)

from meshca.errors import NotFound
from meshca.wire.open_calls import Context

WHOLE: Final = ""  # the name that stands for the server (grpc's health/v1/health.proto)


class Health:
    """`grpc.health.v1.Health`; it has every method of the generated servicer, whose base has no types.

    Args:
        services: full names of what is served.
    """

    def __init__(self, services: Collection[str]) -> None:
        self._services = frozenset((WHOLE, *services))

    async def Check(  # noqa: N802 - the proto's name
        self, request: HealthCheckRequest, _context: Context
    ) -> HealthCheckResponse:
        """SERVING.

        Raises:
            NotFound: reason `service`, when it is not served here.
        """
        if request.service not in self._services:
            raise NotFound("service", "no service of this name is served here")
        return HealthCheckResponse(status=HealthCheckResponse.SERVING)

    async def List(  # noqa: N802 - as above
        self, _request: HealthListRequest, _context: Context
    ) -> HealthListResponse:
        """Every service as SERVING."""
        serving = HealthCheckResponse(status=HealthCheckResponse.SERVING)
        return HealthListResponse(statuses=dict.fromkeys(sorted(self._services), serving))

    async def Watch(  # noqa: N802 - as above
        self, request: HealthCheckRequest, context: Context
    ) -> None:
        """SERVING, or SERVICE_UNKNOWN, and then nothing until the server ends the stream."""
        served = request.service in self._services
        status = HealthCheckResponse.SERVING if served else HealthCheckResponse.SERVICE_UNKNOWN
        await context.write(HealthCheckResponse(status=status))
        await asyncio.Event().wait()

"""The doors of a worker: one gRPC server with the same services on two TLS ports.

Everything is registered through the guard, so no handler's exception can leave in its own words.
"""

from __future__ import annotations

import asyncio
import importlib
import os
from collections.abc import AsyncIterator, Collection
from typing import Any, Final, cast

import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from meshca import metrics
from meshca._proto.istio.v1.auth import ca_pb2, ca_pb2_grpc
from meshca.app.admin_door import AdminDoor
from meshca.app.pipeline import Pipeline
from meshca.errors import ConfigError, Exhausted
from meshca.rpc.adoptions import Adoptions
from meshca.rpc.discovery import Discovery
from meshca.rpc.health import Health
from meshca.rpc.istio_ca import IstioCa
from meshca.rpc.roles import People
from meshca.rpc.sds import ServerKeys
from meshca.wire.interceptors import Guarded
from meshca.wire.tls import Serving, server_options
from meshca.wire.xds_services import AGGREGATED, EXTENSIONS, SECRETS
from meshca.wire.xds_streams import Streams

TELL_SECONDS: Final = 0.4  # that callers are told to go elsewhere before connections are closed
FLUSH_SECONDS: Final = 1.0  # that clients have to take what they were answered: some never read
LOOK_SECONDS: Final = 0.05  # between two looks whether all is answered
MAX_QUESTIONS: Final = 100  # of one stream of reflection; a client that reads everything asks about thirty
_ISTIO_CA: Final = ca_pb2.DESCRIPTOR.services_by_name["IstioCertificateService"].full_name
_HEALTH: Final = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
# service -> the module that knows its descriptor
_DESCRIBED: Final = {
    AGGREGATED.name: "envoy.service.discovery.v3.ads_pb2",
    SECRETS.name: "envoy.service.secret.v3.sds_pb2",
    EXTENSIONS.name: "envoy.service.extension.v3.config_discovery_pb2",
}


class Doors:
    """A worker's gRPC server.

    Args:
        pipeline: what every service calls.
        serving: certificates of both ports.
    """

    def __init__(self, pipeline: Pipeline, serving: Serving) -> None:
        config = pipeline.config
        self._serving = serving
        self._clock = pipeline.clock
        self._streams = Streams(pipeline.clock, answer_timeout=config.ack_timeout.total_seconds())
        self._server = grpc.aio.server(options=server_options(config.serving.max_connection_age))
        self._guarded = Guarded(self._server, _count)
        registry = cast("grpc.aio.Server", self._guarded)  # what generated code calls of a server, it has
        ca_pb2_grpc.add_IstioCertificateServiceServicer_to_server(IstioCa(pipeline.issuing), registry)
        self._admin = AdminDoor(
            prove=pipeline.subscribers.proven,
            people=People(config.admin, os.geteuid()),
            parent=config.workers_socket,
            trust_domain=config.trust_domain,
        )
        self._admin.add_to(self._guarded)  # not among the names: nobody without a role need know of it
        names = [_ISTIO_CA, *self._add_subscriptions(pipeline)]
        _describe(names)
        health_pb2_grpc.add_HealthServicer_to_server(Health(names), registry)
        # `enable_server_reflection` would add the synchronous servicer: the guard is no grpc.aio.Server.
        reflected = _Reflection((*names, _HEALTH, reflection.SERVICE_NAME))
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(reflected, registry)

    async def open(self, token_address: str, mtls_address: str) -> None:
        """Listen on both ports.

        Raises:
            ConfigError: a port cannot be bound.
        """
        for address, asked in ((token_address, False), (mtls_address, True)):
            try:
                self._server.add_secure_port(address, self._serving.credentials(client_certificates=asked))
            except RuntimeError:
                raise ConfigError(address, ["cannot be bound; is another server there?"]) from None
        await self._server.start()

    async def run(self) -> None:
        """Watch the time for all streams, for ever."""
        await self._streams.run()

    async def close(self, seconds: float, *, elsewhere: bool = False) -> None:
        """Take no new call, end streams so that clients go elsewhere, let calls in flight finish.

        Args:
            seconds: after which what is still in flight is cut off.
            elsewhere: there is another worker, to which gRPC's GOAWAY sends the next call of each connection, so
                that no call need be refused.
        """
        self._guarded.end_streams()
        if not elsewhere:
            self._guarded.refuse_calls()
            told = min(TELL_SECONDS, seconds)
            await self._clock.sleep(told)
            seconds -= told
        stopping = asyncio.create_task(self._server.stop(seconds))
        while not stopping.done() and not self._guarded.idle:
            await self._clock.sleep(LOOK_SECONDS)
        await self._server.stop(min(FLUSH_SECONDS, seconds))
        await stopping
        await self._admin.close()

    def _add_subscriptions(self, pipeline: Pipeline) -> list[str]:
        """Serve agents, and, if so configured, Envoys without one; the names of the services."""
        trust_domain = pipeline.config.trust_domain
        adoptions = Adoptions(pipeline.store.adoption, trust_domain, pipeline.clock, pipeline.instance)
        discovery = Discovery(
            prove=pipeline.subscribers.proven,
            delivery=pipeline.delivery,
            adoptions=adoptions,
            trust_domain=trust_domain,
        )
        discovery.add_to(self._guarded, self._streams)
        if not pipeline.config.sds.server_keys:
            return [AGGREGATED.name]
        server_keys = ServerKeys(
            prove=pipeline.subscribers.admitted,
            issue=pipeline.issuing.issue_with_server_key,
            delivery=pipeline.delivery,
            adoptions=adoptions,
            streams=self._streams,
            trust_domain=trust_domain,
            clock=pipeline.clock,
        )
        server_keys.add_to(self._guarded)
        return [AGGREGATED.name, SECRETS.name, EXTENSIONS.name]


class _Reflection(reflection.aio.ReflectionServicer):  # type: ignore[misc] # untyped there
    """Describes our services to anybody; an answer may be 700 times as long as its question, so few are given."""

    async def ServerReflectionInfo(  # noqa: N802 - gRPC's name
        self,
        request_iterator: AsyncIterator[Any],
        unused_context: Any,  # noqa: ANN401 - gRPC's
    ) -> AsyncIterator[Any]:
        async for answer in super().ServerReflectionInfo(_few(request_iterator), unused_context):
            yield answer


async def _few(questions: AsyncIterator[Any]) -> AsyncIterator[Any]:
    left = MAX_QUESTIONS
    async for question in questions:
        if left == 0:
            raise Exhausted("reflection", f"a stream may ask {MAX_QUESTIONS} questions", retry_after=1.0)
        left -= 1
        yield question


def _describe(names: Collection[str]) -> None:
    """Load the descriptors of Envoy's services, which our handlers do without, for reflection to show."""
    for service, module in _DESCRIBED.items():
        if service in names:
            importlib.import_module(module)


def _count(method: str, code: str, reason: str) -> None:
    metrics.rpc_failures.labels(method, code, reason).inc()

"""One worker process: both TLS ports, the pipeline behind them, and the control channel to the parent.

Holds the signing key in memory only and never outlives its parent: when the control channel closes, it ends.
Started by the parent as `python -m meshca.app.worker FD`; not meant to be run by hand.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import signal
import socket
import sys
from collections.abc import AsyncIterator

import uvloop

from meshca.app.briefing import Briefing, read_briefing
from meshca.app.control import (
    Channel,
    Drain,
    Failed,
    Message,
    Probe,
    Probed,
    Ready,
    UseAdmission,
    UseAuthority,
    UseOrder,
    UsePolicies,
    kind_of,
)
from meshca.app.doors import Doors
from meshca.app.leaf_desk import LeafDesk, longest
from meshca.app.leaf_messages import GaveLeaf
from meshca.app.newest import Newest
from meshca.app.pipeline import AWAY, Pipeline, open_pipeline
from meshca.app.serving_certificate import ServingCertificate
from meshca.app.stopping import Stopping
from meshca.background import running
from meshca.backoff import JITTER, Backoff
from meshca.clock import Clock, SystemClock
from meshca.errors import ConfigError, MeshcaError
from meshca.log import configure, log
from meshca.wire.descriptors import raise_limit
from meshca.wire.tls import Serving

ORPHAN_SECONDS = 1.0  # for calls in flight when the parent has died
ANSWER_SECONDS = 1.0  # for a probe; less than the parent waits, so that a store that hangs does not look like us
TOKEN_BACKOFF = Backoff(floor=1.0, ceiling=30.0)  # while we serve, and are not ready
COLLECT_AFTER = (20_000, 20, 20)  # new objects, young and middle collections; CPython's own: 700, 10, 10


class Worker:
    """A worker that serves."""

    def __init__(  # noqa: PLR0913 - its parts, by name
        self,
        *,
        pipeline: Pipeline,
        doors: Doors,
        certificate: ServingCertificate,
        channel: Channel,
        desk: LeafDesk,
        clock: Clock,
    ) -> None:
        self._pipeline = pipeline
        self._doors = doors
        self._certificate = certificate
        self._channel = channel
        self._desk = desk
        self._clock = clock
        self._probing: set[asyncio.Task[None]] = set()
        self._newest = {UseAdmission: Newest(self._use), UsePolicies: Newest(self._use)}
        self._repeating: asyncio.Task[None] | None = None
        self._refused: dict[str, str] = {}  # why, by kind of news, until good news of that kind come

    async def follow(self) -> None:
        """Do what the parent says until it says drain, or is gone."""
        async for message in self._channel.messages():
            if isinstance(message, Drain):
                await self._close(message.seconds, elsewhere=message.replaced)
                return
            await self._obey(message)
        log.warning("worker.orphaned")
        await self._close(ORPHAN_SECONDS)

    async def drain(self) -> None:
        """End by ourselves, as if the parent had said so: somebody signalled the whole group."""
        await self._close(self._pipeline.config.serving.drain_timeout.total_seconds())

    async def _close(self, seconds: float, *, elsewhere: bool = False) -> None:
        """Finish what is in flight; it may wait for a leaf that the parent has signed."""
        hearing = asyncio.create_task(self._hear_leaves())
        try:
            await self._doors.close(seconds, elsewhere=elsewhere)
        finally:
            hearing.cancel()

    async def _hear_leaves(self) -> None:
        async for message in self._channel.messages():
            if isinstance(message, GaveLeaf):
                self._desk.given(message)

    async def _obey(self, message: Message) -> None:
        match message:
            case UseAuthority():
                if self._repeating is not None:
                    self._repeating.cancel()
                if await self._use(message) == AWAY:
                    self._repeating = asyncio.create_task(self._repeat(message))
            case UseOrder():
                await self._use(message)
            case (
                UseAdmission() | UsePolicies()
            ):  # large ones take seconds; probes and the brake do not wait for them
                self._newest[type(message)].offer(message)
            case Probe(id=number):
                self._probe(number)
            case GaveLeaf():
                self._desk.given(message)
            case _:
                log.error("worker.unexpected_message", kind=type(message).__name__)

    async def _repeat(self, news: UseAuthority) -> None:
        """Until the token that signs answers: the parent says it once, and not again before the next half life."""
        failures, reason = 0, AWAY
        while reason == AWAY:
            failures += 1
            await self._clock.sleep(TOKEN_BACKOFF.pause(failures, JITTER))
            reason = await self._use(news)

    async def _use(self, news: UseAuthority | UseOrder | UseAdmission | UsePolicies) -> str:
        """Put news in force, or keep what is in force and be not ready: other workers may hold the news.

        Returns:
            The reason why they are not; empty when they are.
        """
        kind = kind_of(news)
        try:
            match news:
                case UseAuthority():
                    self._pipeline.use_authority(news)
                    self._certificate.signer_changed()
                case UseOrder():
                    self._pipeline.use_order(news)
                case UseAdmission():
                    await self._pipeline.use_admission(news)
                case UsePolicies():
                    await self._pipeline.use_policies(news)
        except MeshcaError as error:  # unlikely: the parent has tried the same before
            self._refused[kind] = error.detail
            log.error("worker.news_refused", kind=kind, detail=error.detail)
            return error.reason
        self._refused.pop(kind, None)
        return ""

    def _probe(self, number: int) -> None:
        """Beside the messages: a store that hangs must not keep us from draining."""

        async def answer() -> None:
            await self._channel.send(await self._probed(number))

        task = asyncio.create_task(answer())
        self._probing.add(task)
        task.add_done_callback(self._probing.discard)

    async def _probed(self, number: int) -> Probed:
        detail = await self._problem()
        serving, clusters = self._certificate.leaf, self._pipeline.clusters
        return Probed(id=number, ok=not detail, detail=detail, serving=serving, clusters=clusters)

    async def _problem(self) -> str:
        """What does not work, empty when everything does."""
        try:
            await asyncio.wait_for(self._pipeline.probe(), ANSWER_SECONDS)
        except TimeoutError:
            return f"store: no answer within {ANSWER_SECONDS:g} s"
        except MeshcaError as error:
            return f"{error.reason}: {error.detail}"
        return "; ".join(f"newer {kind} refused: {why}" for kind, why in self._refused.items())


@contextlib.asynccontextmanager
async def opened(briefing: Briefing, channel: Channel, clock: Clock) -> AsyncIterator[Worker]:
    """A worker whose ports answer."""
    config = briefing.config
    desk = LeafDesk(channel, longest(config.upstream))
    async with open_pipeline(briefing, clock, desk) as pipeline:
        certificate = ServingCertificate(
            authority=pipeline.authority,
            ledger=pipeline.store.ledger,
            names=config.serving.names,
            lifetime=config.serving.lifetime,
            clock=clock,
            request_id=briefing.name,
        )
        serving = Serving(await certificate.make())
        doors = Doors(pipeline, serving)
        await doors.open(briefing.token_address, briefing.mtls_address)
        async with (
            running("serving certificate", functools.partial(certificate.run, serving), clock),
            running("streams", doors.run, clock),
        ):
            yield Worker(
                pipeline=pipeline, doors=doors, certificate=certificate, channel=channel, desk=desk, clock=clock
            )


async def work(fd: int) -> int:
    """The whole life of a worker; returns its exit code."""
    stopping = Stopping()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.asked.set)
    channel = await Channel.over(socket.socket(fileno=fd))
    try:
        briefing = await read_briefing(channel.messages())
        if briefing is None:
            return 0  # the parent has changed its mind
        configure(
            level=briefing.config.log.level,
            format_=briefing.config.log.format,
            worker=briefing.name,
        )
        async with opened(briefing, channel, SystemClock()) as worker:
            _spare_the_collector()
            await channel.send(Ready())
            if await stopping.unless_asked(_followed(worker)) is None:
                await worker.drain()
    except ConfigError as error:
        await channel.send(Failed(detail=error.detail))
        return 2
    except MeshcaError as error:
        await channel.send(Failed(detail=f"{error.reason}: {error.detail}"))
        return 1
    finally:
        await channel.close()
    return 0


async def _followed(worker: Worker) -> bool:
    await worker.follow()
    return True


def _spare_the_collector() -> None:
    """Keep the cycle collector away from what lives as long as the process: modules, templates, pools.

    A full collection over them took 40 ms, and all collections together 8 % of an issuance.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)


def main() -> None:
    """Run a worker on the control channel whose file descriptor is the only argument."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent drains us
    raise_limit()  # a connection is a descriptor, and the store needs some as well
    sys.exit(uvloop.run(work(int(sys.argv[1]))))


if __name__ == "__main__":
    main()

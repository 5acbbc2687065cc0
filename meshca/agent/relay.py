"""The agent's stream to the CA: roots and policies come down, what the Envoys adopted goes up.

The stream is opened with the certificate held now and opened anew some seconds after that was renewed. While it
speaks its channel is lent to renewals. Losing it loses nothing: what was pushed stays with the holding.
Reconnection waits at least the backoff's floor.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn

import grpc
import grpc.aio
from envoy.config.core.v3.base_pb2 import Node
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse

from meshca.agent.adopting import Adopting, Say
from meshca.agent.call_error import from_rpc
from meshca.agent.channel import Lent, open_channel
from meshca.agent.envoys import Envoys, HeldUp, InForce
from meshca.agent.holding import Holding
from meshca.agent.intake import Intake
from meshca.agent.svid import Svid
from meshca.agent.target import Target
from meshca.agent.trust import Trust
from meshca.backoff import Pace
from meshca.errors import Denied, MeshcaError, Unauthenticated, Unavailable
from meshca.log import log
from meshca.wire.node import Report, write_report

METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"
INTERNAL = 13  # google.rpc.Code of a NACK, as Envoy sends it
CORE_FAULT = "Internal error from Core"
LONGEST_VERSION = 100  # characters of a version in the log
REOPEN_SPREAD = 3  # as if so many tries had failed: 1 to 8 s with the default backoff


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """Where the stream goes, and as whom.

    Attributes:
        target: the CA's port for callers with a certificate.
        server_name: the name that the CA's certificate must carry; empty for the target's host.
        node_id: what we call ourselves at the CA (the pod's name).
        instance: tells us from other agents that call themselves so.
        trust: gives the roots for each channel.
        prove_anew: called when the CA refuses the stream for who we are; asks for a certificate by the token.
        lent: is offered the channel of each stream that speaks.
    """

    target: Target
    server_name: str
    node_id: str
    instance: str
    trust: Trust
    prove_anew: Callable[[], None]
    lent: Lent


class _Line:
    """One resource: its intake, and the state of its subscription at the CA."""

    def __init__(self, intake: Intake) -> None:
        self.intake = intake
        self.adopting = Adopting()
        self._invalid = ""
        self._taking = False

    def take(self, response: Any) -> None:  # noqa: ANN401 - DiscoveryResponse, untyped
        """Take a push; one without a resource changes nothing."""
        self._invalid, self._taking = "", True
        try:
            for resource in response.resources:
                self.intake.take(resource.value)
        except MeshcaError as error:
            self._invalid = str(error)
            log.error("push.refused", name=self.intake.name, reason=error.reason, detail=error.detail)
        finally:
            self._taking = False
        self.adopting.pushed(response.version_info, response.nonce, invalid=self._invalid)

    def review(self, envoys: Envoys) -> Say | None:
        """What the CA must be told now, if anything.

        Offering a push makes the Envoys' streams speak before the push is noted: nothing is said meanwhile, or it
        would be about the push before.
        """
        if self._taking:
            return None
        verdict = self.intake.verdict(envoys)
        say = self.adopting.review(verdict)
        if say is not None and not self._invalid:
            self.intake.decided(verdict)
        return say


class Relay:
    """Keeps a stream to the CA for as long as there is a certificate to open it with.

    Args:
        desk: the CA.
        intakes: what is asked for, and where it goes.
        holding: has our certificate.
        envoys: say what is in force.
        pace: pauses between streams.
    """

    def __init__(
        self, desk: Desk, intakes: Sequence[Intake], holding: Holding, envoys: Envoys, pace: Pace
    ) -> None:
        self._desk = desk
        self._lines = {intake.type_url: _Line(intake) for intake in intakes}
        self._holding = holding
        self._envoys = envoys
        self._pace = pace
        self._outbox: asyncio.Queue[tuple[_Line, Say]] | None = None
        self._heard = False
        self._asked_anew = False

    def review(self) -> None:
        """Something has happened at an Envoy: tell the CA what it must know."""
        for line in self._lines.values():
            if self._outbox is not None and (say := line.review(self._envoys)) is not None:
                self._outbox.put_nowait((line, say))

    async def run(self) -> NoReturn:
        """Keep the stream for ever; raises only what nobody expected."""
        changed = asyncio.Event()
        unwatch = self._holding.watch(changed.set)
        failures = 0
        try:
            while True:
                svid = await self._certificate(changed)
                try:
                    await self._converse(svid, changed)
                except MeshcaError as error:
                    failures = 1 if self._heard else failures + 1
                    self._mind_refusal(error, svid)
                    await self._wait_after(error, failures)
        finally:
            unwatch()

    def _mind_refusal(self, error: MeshcaError, svid: Svid) -> None:
        """Ask for a new proof when the CA does not take this one: too long after its token, or its record is lost.

        Once until a stream speaks again: if the new certificate is refused too, the proof was not the reason, and
        asking on would be a storm.
        """
        if not isinstance(error, Unauthenticated | Denied) or self._heard or self._asked_anew:
            return
        self._asked_anew = True
        log.warning("certificate.refused", serial=svid.serial, reason=error.reason, detail=error.detail)
        self._desk.prove_anew()

    async def _certificate(self, changed: asyncio.Event) -> Svid:
        """The certificate held, once it is valid."""
        while (svid := self._holding.svid) is None or not svid.valid(self._pace.clock.now()):
            changed.clear()
            await changed.wait()
        return svid

    async def _wait_after(self, error: MeshcaError, failures: int) -> None:
        pause = self._pace.after(error, failures)
        log.warning(
            "relay.disconnected",
            reason=error.reason,
            detail=error.detail,
            failures=failures,
            next_try_in_s=round(pause, 1),
        )
        await self._pace.clock.sleep(pause)

    async def _converse(self, svid: Svid, changed: asyncio.Event) -> None:
        """One stream; returns when a newer certificate should carry the next one.

        Raises:
            MeshcaError: it could not be opened, or has ended.
        """
        self._heard = False
        roots = await self._desk.trust.channel_roots()
        name = self._desk.server_name
        async with open_channel(self._desk.target, roots=roots, server_name=name, svid=svid) as channel:
            call = channel.stream_stream(
                METHOD,
                request_serializer=DiscoveryRequest.SerializeToString,
                response_deserializer=DiscoveryResponse.FromString,
            )()
            outbox = self._outbox = asyncio.Queue()
            for line in self._lines.values():
                outbox.put_nowait((line, line.adopting.begin()))
            try:
                await _first_of(
                    self._read(call, partial(self._desk.lent.offer, channel, svid)),
                    self._write(call, outbox),
                    self._replaced(svid, changed),
                )
            except grpc.aio.AioRpcError as error:
                raise await self._desk.trust.explain(_ended(error, str(self._desk.target))) from None
            finally:
                self._outbox = None
                call.cancel()
                await self._desk.lent.take_back()

    async def _read(self, call: Any, speaks: Callable[[], None]) -> None:  # noqa: ANN401 - untyped messages
        while (response := await call.read()) is not grpc.aio.EOF:
            if not self._heard:
                log.info("relay.connected", target=str(self._desk.target))
                speaks()
            self._heard, self._asked_anew = True, False
            line = self._lines.get(response.type_url)
            if line is not None:
                version = response.version_info[:LONGEST_VERSION]
                log.info("push.received", name=line.intake.name, version=version)
                line.take(response)
                self.review()
        raise Unavailable("ca_closed", "the CA has ended the stream")

    async def _write(self, call: Any, outbox: asyncio.Queue[tuple[_Line, Say]]) -> None:  # noqa: ANN401 - as above
        while True:
            line, say = await outbox.get()
            try:
                await call.write(self._request(line.intake, say))
            except asyncio.InvalidStateError:  # the stream has ended; the reader knows why
                await asyncio.Event().wait()

    async def _replaced(self, svid: Svid, changed: asyncio.Event) -> None:
        """Return some time after there is a newer certificate.

        The stream is as good as before, for this certificate has not ended. When a whole fleet renews at once, as
        many handshakes again would hold up the renewals of the others.
        """
        while self._holding.svid is svid:
            changed.clear()
            await changed.wait()
        if svid.valid(self._pace.clock.now()):
            await self._pace.clock.sleep(self._pace.backoff.pause(REOPEN_SPREAD, self._pace.rng))

    def _request(self, intake: Intake, say: Say) -> Any:  # noqa: ANN401 - DiscoveryRequest, untyped
        request = DiscoveryRequest(
            type_url=intake.type_url,
            resource_names=[intake.name],
            version_info=say.version,
            response_nonce=say.nonce,
            node=Node(
                id=self._desk.node_id,
                user_agent_name="meshca-agent",
                metadata=write_report(_report(say.verdict), self._desk.instance),
            ),
        )
        if say.error:
            request.error_detail.code = INTERNAL
            request.error_detail.message = say.error
        return request


def _report(verdict: InForce | HeldUp | None) -> Report:
    if verdict is None:
        return Report()
    if isinstance(verdict, HeldUp):
        return Report(pending_pids=verdict.pids, held_up=verdict.error)
    return Report(grade=verdict.grade, pending_pids=verdict.pending_pids, leaf=verdict.leaf)


def _ended(error: grpc.aio.AioRpcError, target: str) -> MeshcaError:
    """Why a stream has ended.

    A write that meets the end puts its own fault in the place of the status (grpc.aio's
    `_StreamRequestMixin._write`), so what the CA said is lost.
    """
    if error.code() is grpc.StatusCode.INTERNAL and error.details() == CORE_FAULT:
        return Unavailable("ca_closed", f"the CA at {target} has ended the stream")
    return from_rpc(error, target)


async def _first_of(*works: Coroutine[Any, Any, None]) -> None:
    """Run all until the first ends, then cancel the others; its error is ours."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()

"""How guarded calls end: by the client, by a server that stops, and told once the client reads."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest

from meshca._proto.istio.v1.auth import ca_pb2
from meshca.wire.status import REASON
from tests.wire.guarded_server import REQUEST, STREAMS, Served, failure

LARGE = "x" * 2**20  # gRPC takes a message or two of its server before a client reads


async def until(holds: Callable[[], bool]) -> None:
    """Return once it holds."""
    for _ in range(2000):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("waited in vain")


async def test_cancelled_by_the_client(served: Served) -> None:
    """A client that goes away cancels the handler, and that is no failure."""
    served.behaviour.wait = True
    call = served.call("Unary")(REQUEST)
    await served.behaviour.started.wait()
    call.cancel()
    await served.behaviour.cancelled.wait()
    assert served.failures == []


@pytest.mark.parametrize("name", STREAMS)
async def test_ended_streams_send_clients_elsewhere(served: Served, name: str) -> None:
    """When the server stops, open streams end with UNAVAILABLE, and new ones do so at once."""
    served.behaviour.wait = True
    call = served.call(name, "unary_stream")(REQUEST)
    await served.behaviour.started.wait()
    served.guarded.end_streams()
    assert (await failure(call)).code() is grpc.StatusCode.UNAVAILABLE
    assert served.behaviour.cancelled.is_set()
    assert (await failure(served.call(name, "unary_stream")(REQUEST))).code() is grpc.StatusCode.UNAVAILABLE


async def test_stream_cancelled_by_the_client(served: Served) -> None:
    """A client that leaves a stream cancels its handler, and that is no failure."""
    served.behaviour.wait = True
    call = served.call("Generated", "unary_stream")(REQUEST)
    await served.behaviour.started.wait()
    call.cancel()
    await served.behaviour.cancelled.wait()
    assert served.failures == []


async def test_unary_calls_go_on_while_streams_end(served: Served) -> None:
    """Ending the streams does not touch unary calls."""
    served.guarded.end_streams()
    assert (await served.call("Unary")(REQUEST)).cert_chain[0] == "text"


async def test_new_calls_are_refused_while_calls_in_flight_go_on(served: Served) -> None:
    """With a status that clients retry, and the reason; gRPC itself would say CANCELLED."""
    served.behaviour.wait = True
    flying = served.call("Unary")(REQUEST)
    await served.behaviour.started.wait()
    served.guarded.refuse_calls()
    refused = await failure(served.call("Unary")(REQUEST))
    assert (refused.code(), dict(refused.trailing_metadata() or ())[REASON]) == (
        grpc.StatusCode.UNAVAILABLE,
        "draining",
    )
    assert not flying.done()
    flying.cancel()


@pytest.mark.parametrize("name", STREAMS)
async def test_status_follows_what_is_still_being_read(served: Served, name: str) -> None:
    """A client that does not read is told why its stream ended once it does, and nobody waits for that."""
    served.behaviour.answers = [LARGE] * 9
    call = served.call(name, "unary_stream")(REQUEST)
    await call.initial_metadata()
    await asyncio.sleep(0.2)  # for the server to write what goes out
    served.guarded.end_streams()
    await until(lambda: served.guarded.idle)
    assert 0 < len([answer async for answer in _told(call)]) < len(served.behaviour.answers)
    assert (await call.code(), dict(await call.trailing_metadata())[REASON]) == (
        grpc.StatusCode.UNAVAILABLE,
        "draining",
    )


async def _told(call: Any) -> AsyncIterator[ca_pb2.IstioCertificateResponse]:
    with contextlib.suppress(grpc.aio.AioRpcError):
        async for answer in call:
            yield answer


async def test_idle_once_all_is_answered(served: Served) -> None:
    """While a unary call or a stream is answered the guard is not idle, and then it is."""
    served.behaviour.wait = True
    for name, kind in (("Unary", "unary_unary"), ("Generated", "unary_stream")):
        served.behaviour.started.clear()
        call = served.call(name, kind)(REQUEST)
        await served.behaviour.started.wait()
        assert not served.guarded.idle
        call.cancel()
        await until(lambda: served.guarded.idle)

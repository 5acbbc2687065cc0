"""A gate that runs with a gRPC server behind it, under either event loop, and its callers."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
import uvloop

from meshca.clock import SystemClock
from meshca.wire.peercred import PeerGate, open_gate

LOOPS = pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
Loop = Callable[[], asyncio.AbstractEventLoop]


def run(loop: Loop, scenario: Awaitable[None]) -> None:
    """Run on a loop of this kind."""

    async def limited() -> None:
        async with asyncio.timeout(20):
            await scenario

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(limited())


@contextlib.asynccontextmanager
async def serving(path: Path, uids: list[int] | None = None) -> AsyncIterator[PeerGate]:
    """A gate with a gRPC server behind it that says who is calling, and echoes streams."""
    server = grpc.aio.server()

    async def who_am_i(_request: bytes, context: Any) -> bytes:
        peer = gate.peer_of(context.peer())
        return f"{peer.pid} {peer.uid} {peer.gid}".encode()

    async def echo(_requests: object, context: Any) -> None:
        while (message := await context.read()) is not grpc.aio.EOF:
            await context.write(message)

    handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "WhoAmI": grpc.unary_unary_rpc_method_handler(who_am_i),
        "Echo": grpc.stream_stream_rpc_method_handler(echo),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test", handlers),))
    allowed = [os.getuid()] if uids is None else uids
    async with open_gate(path, allowed_uids=allowed, clock=SystemClock()) as gate:
        server.add_insecure_port(gate.inner_address)
        await server.start()
        accepting = asyncio.create_task(gate.run())
        try:
            yield gate
        finally:
            accepting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await accepting
            await server.stop(0)


async def who_am_i(path: Path) -> str:
    """Ask over a connection of its own."""
    async with grpc.aio.insecure_channel(f"unix:{path}") as channel:
        return await who_am_i_over(channel)


async def who_am_i_over(channel: grpc.aio.Channel) -> str:
    """Ask over this connection."""
    call: Any = channel.unary_unary("/test/WhoAmI")
    answer: bytes = await call(b"", timeout=10)
    return answer.decode()


def found(folder: Path, pattern: str) -> list[Path]:
    """What matches in a folder."""
    return list(folder.glob(pattern))


def descriptors() -> int:
    """How many file descriptors this process holds."""
    return len(list(Path("/proc/self/fd").iterdir()))

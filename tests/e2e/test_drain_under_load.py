"""SIGTERM while many call: each call is answered, or refused with a status that clients retry elsewhere."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import grpc

from meshca._proto.istio.v1.auth.ca_pb2 import IstioCertificateRequest
from meshca._proto.istio.v1.auth.ca_pb2_grpc import IstioCertificateServiceStub
from tests.real.dev_server import Key, Server, refused, running_server

CALLERS = 16
SETTINGS = {
    "MESHCA__WORKERS": "1",
    "MESHCA__LIMITS__PER_IDENTITY": "{rate: 100000, burst: 100000}",
    "MESHCA__LIMITS__PER_NAMESPACE": "{rate: 100000, burst: 100000}",
}


async def calls(server: Server, answered: asyncio.Semaphore) -> grpc.StatusCode:
    """Ask again and again; the status that ends it."""

    async def again() -> None:
        request = IstioCertificateRequest(csr=Key().csr)
        metadata = (("authorization", f"Bearer {server.token()}"),)
        async with server.channel() as channel:
            stub: Any = IstioCertificateServiceStub(channel)
            while True:
                await stub.CreateCertificate(request, metadata=metadata, timeout=20)
                answered.release()

    return (await refused(again())).code()


async def test_callers_are_told_to_go_elsewhere(tmp_path: Path) -> None:
    """Nobody sees the bare CANCELLED of a server that stops."""
    with running_server(tmp_path / "ca", settings=SETTINGS) as server:
        answered = asyncio.Semaphore(0)
        ended = [asyncio.create_task(calls(server, answered)) for _ in range(CALLERS)]
        for _ in range(50 * CALLERS):
            await answered.acquire()
        server.process.send_signal(signal.SIGTERM)
        codes = Counter(await asyncio.gather(*ended))
    assert codes == {grpc.StatusCode.UNAVAILABLE: CALLERS}

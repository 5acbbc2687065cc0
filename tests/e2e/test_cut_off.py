"""SIGTERM does not wait for ever: a call that takes longer than the drain timeout is cut off."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
import yaml
from grpc_health.v1 import health_pb2, health_pb2_grpc

from meshca._proto.istio.v1.auth.ca_pb2 import IstioCertificateRequest
from meshca._proto.istio.v1.auth.ca_pb2_grpc import IstioCertificateServiceStub
from meshca.app.dev_issuer import DevIssuer
from meshca.clock import SystemClock
from meshca.config.authn import KeysConfig
from tests.real.dev_server import Key, Server, refused, running_server
from tests.real.slow_keys import SlowKeys, slow_keys


@pytest.fixture
def keys() -> Iterator[SlowKeys]:
    """Keys of an issuer that are never given out."""
    with slow_keys() as keys:
        yield keys


@pytest.fixture
def server(tmp_path: Path, keys: SlowKeys) -> Iterator[Server]:
    """A server that waits for those keys, and drains for one second."""
    folder = tmp_path / "ca"
    issuer = DevIssuer.create(folder, SystemClock())
    slow = KeysConfig(url=keys.url, timeout=timedelta(seconds=60))
    config = issuer.config().model_copy(update={"keys": slow})
    settings = {
        "MESHCA__WORKERS": "2",
        "MESHCA__AUTHN__ISSUERS": yaml.safe_dump([config.model_dump(mode="json", exclude_none=True)]),
        "MESHCA__SERVING__DRAIN_TIMEOUT": "1s",
    }
    with running_server(folder, settings=settings) as running:
        yield running


async def test_over_long_call(server: Server, keys: SlowKeys) -> None:
    """Its client is told to go elsewhere, nothing is signed, and one signal is enough for exit code 0."""
    async with server.channel() as channel:
        call = asyncio.create_task(refused(create(server, channel)))
        await asyncio.sleep(0)
        health: Any = health_pb2_grpc.HealthStub(channel)
        for _ in range(2):  # calls of one connection are taken in order: the one before is in its handler
            await health.Check(health_pb2.HealthCheckRequest())
        server.process.send_signal(signal.SIGTERM)
        error = await call
    assert await asyncio.to_thread(server.process.wait, 30) == 0
    assert not keys.given.is_set()
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    (decided,) = [line for line in server.log() if line["event"] == "issuance.decided"]
    assert (decided["result"], decided["reason"]) == ("failed", "abandoned")


async def create(server: Server, channel: grpc.aio.Channel) -> None:
    """A call that waits for the issuer's keys."""
    stub: Any = IstioCertificateServiceStub(channel)
    metadata = (("authorization", f"Bearer {server.token()}"),)
    await stub.CreateCertificate(IstioCertificateRequest(csr=Key().csr), metadata=metadata, timeout=60)

"""The agent's socket, over a real Unix socket with a client that answers when it is told to."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Callable, MutableMapping
from pathlib import Path
from typing import Any

import grpc
import pytest

from meshca.agent.envoys import Envoys, HeldUp, InForce
from meshca.agent.holding import Holding
from meshca.agent.sds import Door, open_socket
from meshca.config.resource_names import AUTHZ, DEFAULT, EXTENSION_TYPE_URL, ROOTCA, SECRET_TYPE_URL
from meshca.errors import ConfigError
from tests.fakes.agent_values import NOW, bundle_of, new_root, policies_of, policy_body, svid_of
from tests.fakes.ca import OWN, FakeCa
from tests.fakes.clock import FakeClock
from tests.fakes.logs import captured_logs
from tests.fakes.xds_client import ECDS, SDS, fetch, read_secret, xds_stream

TRUST_DOMAIN = "spiffe://cluster.local"


def content(folder: Path) -> list[Path]:
    """What is in a folder."""
    return list(folder.iterdir())


class Scene:
    """A holding with a socket in front of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = FakeClock(NOW)
        self.ca = FakeCa(self.clock)
        self.holding = Holding(self.clock)
        self.envoys = Envoys()
        self.reviews = 0
        self._news = asyncio.Event()
        self.logs: list[MutableMapping[str, Any]] = []

    def noticed(self) -> None:
        """As the relay would."""
        self.reviews += 1
        self._news.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for notices until this is so."""
        async with asyncio.timeout(10):
            while not condition():
                self._news.clear()
                await self._news.wait()

    def fill(self) -> None:
        """Certificate, roots, policies."""
        self.holding.take_bundle(bundle_of(self.ca.root))
        self.holding.take_policies(policies_of("a"))
        self.renew()

    def renew(self) -> None:
        """A new certificate."""
        self.holding.take_svid(svid_of(self.ca))

    def door(self, *uids: int) -> Door:
        """The socket for these users."""
        return Door(path=self.path, allowed_uids=frozenset(uids), answer_timeout=10.0)

    @contextlib.asynccontextmanager
    async def serving(self, *uids: int) -> AsyncIterator[Scene]:
        """With the socket open."""
        door = self.door(*(uids or (os.geteuid(),)))
        with captured_logs() as self.logs:
            async with open_socket(door, self.holding, self.envoys, self.noticed, self.clock) as opened:
                running = asyncio.create_task(opened.run())
                try:
                    yield self
                finally:
                    running.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await running

    def events(self, name: str) -> list[MutableMapping[str, Any]]:
        """Log lines of this event."""
        return [entry for entry in self.logs if entry["event"] == name]


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    """A filled holding, served."""
    made = Scene(tmp_path / "s")
    made.fill()
    async with made.serving():
        yield made


@pytest.fixture
async def channel(scene: Scene) -> AsyncIterator[grpc.aio.Channel]:
    """A client's connection."""
    async with grpc.aio.insecure_channel(f"unix:{scene.path}") as made:
        yield made


@pytest.mark.parametrize("name", [DEFAULT, OWN, ROOTCA, TRUST_DOMAIN])
@pytest.mark.parametrize("method", ["StreamSecrets", "DeltaSecrets"])
async def test_each_name_is_served(channel: grpc.aio.Channel, method: str, name: str) -> None:
    """In both protocol variants."""
    async with xds_stream(channel, SDS + method, type_url=SECRET_TYPE_URL) as stream:
        await stream.ask(name)
        [body] = (await stream.answer()).values()
    message = read_secret(body)
    assert message.name == name
    kind = "tls_certificate" if name in {DEFAULT, OWN} else "validation_context"
    assert message.WhichOneof("type") == kind


@pytest.mark.parametrize("method", ["StreamExtensionConfigs", "DeltaExtensionConfigs"])
async def test_policies_are_served(channel: grpc.aio.Channel, method: str) -> None:
    """Byte for byte as the CA pushed them."""
    async with xds_stream(channel, ECDS + method, type_url=EXTENSION_TYPE_URL) as stream:
        await stream.ask(AUTHZ)
        assert list((await stream.answer()).values()) == [policy_body("a")]


async def test_fetch_gives_what_is_there(channel: grpc.aio.Channel) -> None:
    """All names of one request."""
    answer = await fetch(channel, SDS + "FetchSecrets", DEFAULT, ROOTCA, type_url=SECRET_TYPE_URL)
    assert [read_secret(item.value).name for item in answer.resources] == [DEFAULT, ROOTCA]


async def test_fetching_an_unknown_name_is_not_found(channel: grpc.aio.Channel) -> None:
    """Unary calls cannot wait."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await fetch(channel, SDS + "FetchSecrets", "nobody", type_url=SECRET_TYPE_URL)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_an_unknown_name_waits_while_others_are_served(scene: Scene, channel: grpc.aio.Channel) -> None:
    """And is in the log, with who asked."""
    async with xds_stream(channel, SDS + "StreamSecrets", type_url=SECRET_TYPE_URL) as stream:
        await stream.ask(DEFAULT, "nobody")
        assert [read_secret(body).name for body in (await stream.answer()).values()] == [DEFAULT]
    [entry] = scene.events("envoy.pending")
    assert entry["names"] == ["nobody"]
    assert (entry["pid"], entry["uid"], entry["node"]) == (os.getpid(), os.geteuid(), "node-1")


async def test_a_renewal_is_pushed(scene: Scene, channel: grpc.aio.Channel) -> None:
    """After the acknowledgement of the one before."""
    async with xds_stream(channel, SDS + "StreamSecrets", type_url=SECRET_TYPE_URL) as stream:
        await stream.ask(DEFAULT)
        first = read_secret((await stream.answer())["0"])
        await stream.ack()
        scene.renew()
        second = read_secret((await stream.answer())["0"])
    assert first.tls_certificate.private_key != second.tls_certificate.private_key


async def test_the_certificate_waits_until_there_is_one(tmp_path: Path) -> None:
    """A stream that came first is served then."""
    scene = Scene(tmp_path / "s")
    async with (
        scene.serving(),
        grpc.aio.insecure_channel(f"unix:{scene.path}") as channel,
        xds_stream(channel, SDS + "StreamSecrets", type_url=SECRET_TYPE_URL) as stream,
    ):
        await stream.ask(DEFAULT)
        await scene.until(lambda: bool(scene.events("envoy.pending")))
        scene.renew()
        assert read_secret((await stream.answer())["0"]).name == DEFAULT


async def test_an_expired_certificate_is_not_served(scene: Scene, channel: grpc.aio.Channel) -> None:
    """Neither to a stream nor to a fetch."""
    scene.clock.move(24 * 3600 + 1)
    with pytest.raises(grpc.aio.AioRpcError):
        await fetch(channel, SDS + "FetchSecrets", DEFAULT, type_url=SECRET_TYPE_URL)
    async with xds_stream(channel, SDS + "StreamSecrets", type_url=SECRET_TYPE_URL) as stream:
        await stream.ask(DEFAULT, ROOTCA)
        assert [read_secret(body).name for body in (await stream.answer()).values()] == [ROOTCA]


async def test_acknowledgements_are_counted(scene: Scene, channel: grpc.aio.Channel) -> None:
    """By the Envoys' record, and told to the relay."""
    async with xds_stream(channel, SDS + "StreamSecrets", type_url=SECRET_TYPE_URL) as stream:
        await stream.ask(ROOTCA)
        await stream.answer()
        await stream.ack()
        scene.holding.take_bundle(bundle_of(scene.ca.root, new_root("next")))
        await stream.answer()  # the acknowledgement has been taken by now
        version = bundle_of(scene.ca.root).version
        assert scene.envoys.verdict(SECRET_TYPE_URL, (ROOTCA,), version) == InForce(grade="envoy")
    assert scene.reviews > 0
    [entry] = scene.events("envoy.acknowledged")
    assert entry["pid"] == os.getpid()


async def test_a_refusal_brings_the_last_good_value_back(scene: Scene, channel: grpc.aio.Channel) -> None:
    """Under a new version, once; and it is in the log with the Envoy's words."""
    async with xds_stream(channel, SDS + "StreamSecrets", type_url=SECRET_TYPE_URL) as stream:
        await stream.ask(ROOTCA)
        good = read_secret((await stream.answer())["0"])
        version = stream.last.version_info
        await stream.ack()
        bad = bundle_of(scene.ca.root, new_root("next"))
        scene.holding.take_bundle(bad)
        await stream.answer()
        await stream.nack("no thanks", version)
        assert read_secret((await stream.answer())["0"]) == good
        assert stream.last.version_info != version
        assert isinstance(scene.envoys.verdict(SECRET_TYPE_URL, (ROOTCA,), bad.version), HeldUp)
    [entry] = scene.events("envoy.refused")
    assert (entry["error"], entry["pid"], entry["log_level"]) == ("no thanks", os.getpid(), "error")


async def test_a_client_that_reconnects_gets_everything_again(scene: Scene, channel: grpc.aio.Channel) -> None:
    """With its old version and no nonce."""
    for version in ("", bundle_of(scene.ca.root).version, "of another agent"):
        async with xds_stream(channel, SDS + "StreamSecrets", type_url=SECRET_TYPE_URL) as stream:
            await stream.ask(ROOTCA, version_info=version)
            assert len(await stream.answer()) == 1


async def test_an_envoy_that_leaves_is_forgotten(scene: Scene, channel: grpc.aio.Channel) -> None:
    """Its stream closes."""
    async with xds_stream(channel, SDS + "StreamSecrets", type_url=SECRET_TYPE_URL) as stream:
        await stream.ask(ROOTCA)
        await stream.answer()
        assert len(scene.envoys) == 1
    await scene.until(lambda: len(scene.envoys) == 0)


@pytest.mark.parametrize(
    ("node_id", "type_url"), [("", SECRET_TYPE_URL), ("node-1", EXTENSION_TYPE_URL)], ids=["no node", "wrong type"]
)
async def test_a_broken_request_ends_its_stream_only(
    channel: grpc.aio.Channel, node_id: str, type_url: str
) -> None:
    """With InvalidArgument; the next stream is served."""
    async with xds_stream(channel, SDS + "StreamSecrets", type_url=type_url, node_id=node_id) as stream:
        await stream.ask(DEFAULT)
        code, _, _ = await stream.status()
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    async with xds_stream(channel, SDS + "StreamSecrets", type_url=SECRET_TYPE_URL) as stream:
        await stream.ask(DEFAULT)
        assert await stream.answer()


async def test_who_is_not_allowed_gets_nothing(tmp_path: Path) -> None:
    """Not one byte; the refusal is in the log."""
    scene = Scene(tmp_path / "s")
    scene.fill()
    async with scene.serving(os.geteuid() + 1):
        async with grpc.aio.insecure_channel(f"unix:{scene.path}") as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await fetch(channel, SDS + "FetchSecrets", DEFAULT, type_url=SECRET_TYPE_URL)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert scene.events("peer.refused")[0]["uid"] == os.geteuid()


async def test_the_socket_is_for_owner_and_group(scene: Scene) -> None:
    """0660."""
    assert scene.path.stat().st_mode & 0o777 == 0o660


async def test_a_stale_socket_is_replaced_and_gone_at_the_end(tmp_path: Path) -> None:
    """Left by an agent that was killed."""
    scene = Scene(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(scene.path))
    async with scene.serving():
        assert scene.path.is_socket()
    assert content(tmp_path) == []


async def test_a_live_socket_is_refused(scene: Scene) -> None:
    """Two agents do not fight over one."""
    with pytest.raises(ConfigError, match=str(scene.path)):
        async with open_socket(scene.door(0), scene.holding, scene.envoys, scene.noticed, scene.clock):
            pass


async def test_stopping_tells_every_envoy(tmp_path: Path) -> None:
    """They come back by themselves."""
    scene = Scene(tmp_path / "s")
    scene.fill()
    async with grpc.aio.insecure_channel(f"unix:{scene.path}") as channel, contextlib.AsyncExitStack() as stack:
        async with scene.serving():
            stream = await stack.enter_async_context(
                xds_stream(channel, SDS + "StreamSecrets", type_url=SECRET_TYPE_URL)
            )
            await stream.ask(ROOTCA)
            await stream.answer()
        code, _, _ = await stream.status()
    assert code is grpc.StatusCode.UNAVAILABLE

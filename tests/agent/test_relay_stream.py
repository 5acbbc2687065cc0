"""The stream's life: it comes back, follows the certificate, and lends its connection to renewals."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import grpc
import pytest
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse

from meshca.clock import SystemClock
from meshca.config.resource_names import AUTHZ
from meshca.discovery.event import Adopted, Closed, Subscribed
from meshca.errors import Denied, MeshcaError, Unauthenticated, Unavailable
from meshca.wire.xds_services import AGGREGATED
from tests.agent.relay_scene import Scene
from tests.fakes.agent_values import policy_body, svid_of
from tests.fakes.ca import FakeCa, Mood, serving_ca
from tests.fakes.control_plane import ControlPlane
from tests.fakes.logs import captured_logs


async def test_a_lost_stream_comes_back_and_loses_nothing(scene: Scene) -> None:
    """What was pushed stays offered; the CA is told again what is in force."""
    version = scene.plane.push_policies(policy_body("a"))
    await scene.said(Adopted, AUTHZ)
    since = scene.mark()
    with captured_logs() as logs:
        scene.plane.end_streams(Unavailable("drain", "test"))
        again = await scene.said(Subscribed, AUTHZ, since)
        assert isinstance(again.event, Subscribed)
        assert again.event.held == version
        assert (await scene.said(Adopted, AUTHZ, since)).event == Adopted(versions={AUTHZ: version})
    assert "relay.disconnected" in [entry["event"] for entry in logs]
    assert scene.holding.policies is not None


async def test_a_ca_that_is_down_is_asked_again(scene: Scene) -> None:
    """With pauses; the Envoys notice nothing."""
    scene.plane.push_policies(policy_body("a"))
    await scene.said(Adopted, AUTHZ)
    with captured_logs() as logs:
        await scene.serving.stop()
        async with asyncio.timeout(10):
            for _ in range(3):
                await scene.pauses.get()
        assert scene.holding.policies is not None
        since = scene.mark()
        await scene.serving.start()
        await scene.said(Adopted, AUTHZ, since)
    assert [entry["failures"] for entry in logs if entry["event"] == "relay.disconnected"][:3] == [1, 2, 3]


@pytest.mark.parametrize("refusal", [Unauthenticated("unknown_serial", "test"), Denied("no_rule", "test")])
async def test_a_refused_certificate_is_proven_anew_once(scene: Scene, refusal: MeshcaError) -> None:
    """Until a stream speaks again: a new one that is refused too says that the proof was not the reason."""
    scene.plane.push_policies(policy_body("a"))
    await scene.said(Adopted, AUTHZ)
    scene.plane.refusal = refusal
    with captured_logs() as logs:
        scene.plane.end_streams(Unavailable("drain", "test"))
        await scene.tries(8)
        assert scene.anew == 1
        scene.holding.take_svid(svid_of(scene.ca))
        await scene.tries(8)
    assert scene.anew == 1
    assert [entry["event"] for entry in logs].count("certificate.refused") == 1
    scene.plane.refusal, since = None, scene.mark()
    await scene.said(Adopted, AUTHZ, since)
    scene.plane.refusal = refusal
    scene.plane.end_streams(Unavailable("drain", "test"))
    await scene.tries(8)
    assert scene.anew == 2


async def test_a_ca_that_is_down_refuses_no_certificate(scene: Scene) -> None:
    """It would be asked for nothing."""
    scene.plane.refusal = Unavailable("store", "test")
    scene.plane.end_streams(Unavailable("drain", "test"))
    await scene.tries(5)
    assert scene.anew == 0


async def test_a_renewed_certificate_opens_a_new_stream(scene: Scene) -> None:
    """After a pause, for a fleet that renews at once has enough to do; the old stream goes on until then."""
    scene.plane.push_policies(policy_body("a"))
    await scene.said(Adopted, AUTHZ)
    since = scene.mark()
    with captured_logs() as logs:
        scene.holding.take_svid(svid_of(scene.ca))
        await scene.said(Adopted, AUTHZ, since)
    assert "relay.disconnected" not in [entry["event"] for entry in logs]
    assert scene.pauses.qsize() == 1


async def test_a_renewal_goes_beside_the_stream(scene: Scene) -> None:
    """Over its connection, without a handshake; the stream goes on."""
    scene.plane.push_policies(policy_body("a"))
    await scene.said(Adopted, AUTHZ)
    await scene.renew()
    since = scene.mark()
    scene.plane.push_policies(policy_body("b"))
    await scene.said(Adopted, AUTHZ, since)
    assert scene.ca.asked == ["certificate"]
    assert scene.serving.handshakes == ["certificate"]
    assert not any(isinstance(notice.event, Closed) for notice in scene.plane.notices)


async def test_a_renewal_with_a_newer_certificate_has_a_channel_of_its_own(scene: Scene) -> None:
    """The stream shows the one before until it is opened anew, and lends itself again then."""
    scene.plane.push_policies(policy_body("a"))
    await scene.said(Adopted, AUTHZ)
    since = scene.mark()
    scene.holding.take_svid(svid_of(scene.ca))
    await scene.renew()
    assert scene.serving.handshakes == ["certificate"] * 2
    await scene.said(Adopted, AUTHZ, since)
    await scene.renew()
    assert scene.serving.handshakes == ["certificate"] * 3


async def test_a_stream_that_never_spoke_lends_nothing(scene: Scene) -> None:
    """What refuses the stream would refuse the renewal."""
    scene.plane.refusal = Unavailable("store", "test")
    scene.plane.end_streams(Unavailable("drain", "test"))
    await scene.tries(2)
    assert scene.holding.svid is not None
    async with scene.lent.borrowed(scene.holding.svid) as channel:
        assert channel is None


async def test_a_stream_that_ends_cuts_no_renewal_off(scene: Scene) -> None:
    """The next one is opened when the call is answered, or its time is up."""
    scene.plane.push_policies(policy_body("a"))
    await scene.said(Adopted, AUTHZ)
    scene.ca.certificate_mood = Mood.HANG
    renewing = asyncio.create_task(scene.renew(within=0.3))
    await scene.ca.hung.wait()
    since = scene.mark()
    scene.plane.end_streams(Unavailable("drain", "test"))
    with pytest.raises(Unavailable) as caught:
        await renewing
    assert caught.value.reason == "ca_deadline"
    await scene.said(Adopted, AUTHZ, since)


async def test_an_ended_certificate_carries_no_stream_any_longer(scene: Scene) -> None:
    """The one that takes its place opens another without a pause."""
    scene.plane.push_policies(policy_body("a"))
    await scene.said(Adopted, AUTHZ)
    assert scene.holding.svid is not None
    now = SystemClock().now()
    object.__setattr__(scene.holding.svid, "not_after", now)
    since = scene.mark()
    scene.holding.take_svid(svid_of(scene.ca))
    await scene.said(Adopted, AUTHZ, since)
    assert scene.pauses.empty()


def strange(server: Any) -> None:
    """A control plane that pushes a type that nobody asked for, and then ends the stream well."""

    async def behaviour(requests: object, context: Any) -> None:
        await context.write(DiscoveryResponse(type_url="type.googleapis.com/other", nonce="n", version_info="v"))

    handler = grpc.stream_stream_rpc_method_handler(
        behaviour,
        request_deserializer=DiscoveryRequest.FromString,
        response_serializer=DiscoveryResponse.SerializeToString,
    )
    server.add_registered_method_handlers(AGGREGATED.name, {AGGREGATED.stream: handler})


async def test_strange_pushes_and_good_endings_are_taken_calmly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stream is opened again, after a pause."""
    async with serving_ca(FakeCa(SystemClock()), strange) as serving:
        scene = Scene(tmp_path, serving, ControlPlane())
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "root.pem"))
        with captured_logs() as logs:
            running = asyncio.create_task(scene.relay.run())
            scene.holding.take_svid(svid_of(scene.ca))
            async with asyncio.timeout(10):
                await scene.pauses.get()
                await scene.pauses.get()
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running
    assert {entry["reason"] for entry in logs if entry["event"] == "relay.disconnected"} == {"ca_closed"}

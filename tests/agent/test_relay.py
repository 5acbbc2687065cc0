"""The agent's stream to the CA, over real mTLS, with Envoys that are told what to say."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse
from google.protobuf.any_pb2 import Any as AnyMessage

from meshca.agent.adopting import Say
from meshca.agent.ca_client import CaAddress, CaClient
from meshca.agent.channel import Lent
from meshca.agent.envoys import Envoys, InForce, Rejected, Verdict
from meshca.agent.holding import Holding
from meshca.agent.intake import PoliciesIntake, RootsIntake
from meshca.agent.keys import KeyChoice, fresh_key
from meshca.agent.pin import SystemRoots
from meshca.agent.relay import Desk, Relay, _Line
from meshca.agent.state import State
from meshca.agent.trust import Trust
from meshca.backoff import Backoff, Pace
from meshca.clock import SystemClock
from meshca.config.resource_names import AUTHZ, DEFAULT, EXTENSION_TYPE_URL, ROOTCA, SECRET_TYPE_URL
from meshca.discovery.event import Adopted, Closed, Event, Overdue, Refused, Stale, Subscribed
from meshca.errors import Denied, MeshcaError, Unauthenticated, Unavailable
from meshca.wire.node import Node, Report
from meshca.wire.xds_services import AGGREGATED
from meshca.wire.xds_streams import Notice
from tests.fakes.agent_values import bundle_of, new_root, policy_body, svid_of
from tests.fakes.ca import FakeCa, Mood, ServingCa, serving_ca
from tests.fakes.control_plane import ControlPlane
from tests.fakes.logs import captured_logs

PID = 4242


class NotedClock(SystemClock):
    """The machine's clock, which tells of each pause."""

    def __init__(self, pauses: asyncio.Queue[float]) -> None:
        self._pauses = pauses

    async def sleep(self, seconds: float) -> None:
        """Tell, and sleep."""
        self._pauses.put_nowait(seconds)
        await super().sleep(seconds)


class Scene:
    """An agent's relay between a CA and an Envoy."""

    def __init__(self, folder: Path, serving: ServingCa, plane: ControlPlane) -> None:
        self.pauses: asyncio.Queue[float] = asyncio.Queue()
        clock = NotedClock(self.pauses)
        self.serving = serving
        self.ca = serving.ca
        self.plane = plane
        self.state = State(folder / "state")
        self.holding = Holding(clock)
        self.envoys = Envoys()
        root = folder / "root.pem"
        root.write_text(self.ca.root.pem)
        self.trust = Trust(SystemRoots(), fetch=self._nothing, clock=clock, changed=self.holding.take_bundle)
        self.trust.first(bundle_of(self.ca.root, now=clock.now()))
        self.policies = PoliciesIntake(self.holding, self.state)
        self.anew = 0
        self.lent = Lent()
        desk = Desk(
            target=serving.mtls,
            server_name="",
            node_id="web-0",
            instance="7c",
            trust=self.trust,
            prove_anew=self._prove_anew,
            lent=self.lent,
        )
        self.relay = Relay(
            desk,
            (RootsIntake(self.holding, self.trust, clock, lambda: None), self.policies),
            self.holding,
            self.envoys,
            Pace(clock=clock, rng=random.Random(1), backoff=Backoff(floor=0.01, ceiling=0.05)),
        )

    @staticmethod
    async def _nothing() -> tuple[()]:
        return ()

    def _prove_anew(self) -> None:
        self.anew += 1

    async def tries(self, number: int) -> None:
        """Wait until the stream was opened in vain so often from now on."""
        while not self.pauses.empty():
            self.pauses.get_nowait()
        async with asyncio.timeout(10):
            for _ in range(number):
                await self.pauses.get()

    def envoy(self, name: str, event: Event, *, envoy: str = "one") -> None:
        """Something happened at an Envoy."""
        type_url = EXTENSION_TYPE_URL if name == AUTHZ else SECRET_TYPE_URL
        notice = Notice(peer=envoy, stream=f"{envoy}-{name}", node=Node(), type_url=type_url, event=event)
        self.envoys.observe(notice, PID)
        self.relay.review()

    async def said(self, kind: type[Adopted | Refused | Subscribed], name: str, since: int = 0) -> Notice:
        """What the CA heard of a resource."""

        def wanted(notice: Notice) -> bool:
            event = notice.event
            names = event.names if isinstance(event, Subscribed | Closed) else getattr(event, "versions", ())
            return isinstance(event, kind) and name in names

        return await self.plane.heard(wanted, since=since)

    async def offered(self, ready: Callable[[], bool]) -> None:
        """Wait until the holding has this."""
        changed = asyncio.Event()
        unwatch = self.holding.watch(changed.set)
        async with asyncio.timeout(10):
            while not ready():
                await changed.wait()
                changed.clear()
        unwatch()

    @property
    def leaf(self) -> str:
        """Serial of the certificate that the agent has."""
        assert self.holding.svid is not None
        return self.holding.svid.serial

    def push(self, name: str, text: str) -> str:
        """The CA pushes something good; gives its version."""
        if name == AUTHZ:
            return self.plane.push_policies(policy_body(text))
        now = SystemClock().now()
        return self.plane.push_roots(bundle_of(self.ca.root, new_root(text, now), now=now).pem)

    async def renew(self, *, within: float = 10.0) -> None:
        """Ask for a certificate by the one that is held."""
        address = CaAddress(token=self.serving.token, mtls=self.serving.mtls)
        client = CaClient(
            address=address, trust=self.trust, token_file=Path("none"), timeout=within, lent=self.lent
        )
        assert self.holding.svid is not None
        await client.by_certificate(fresh_key(KeyChoice.EC_P256, None).csr, self.holding.svid)

    def version(self, name: str) -> str:
        """What the holding has."""
        held = self.holding.policies if name == AUTHZ else self.holding.bundle
        return held.version if held is not None else ""

    def mark(self) -> int:
        """Notices so far."""
        return len(self.plane.notices)


@pytest.fixture
async def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    """A relay that runs, with a certificate; system roots vouch for the channel."""
    plane = ControlPlane()
    async with serving_ca(FakeCa(SystemClock()), plane.add_to) as serving:
        made = Scene(tmp_path, serving, plane)
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "root.pem"))
        running = asyncio.create_task(made.relay.run())
        made.holding.take_svid(svid_of(made.ca))
        try:
            yield made
        finally:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running


async def test_the_agent_asks_for_roots_and_policies(scene: Scene) -> None:
    """As the node that it was told to be."""
    assert (await scene.said(Subscribed, ROOTCA)).node.id == "web-0"
    assert (await scene.said(Subscribed, AUTHZ)).node.id == "web-0"


async def test_without_an_envoy_the_agent_acknowledges_for_itself(scene: Scene) -> None:
    """And the CA learns that."""
    both = bundle_of(scene.ca.root, new_root("next", SystemClock().now()), now=SystemClock().now())
    version = scene.plane.push_roots(both.pem)
    notice = await scene.said(Adopted, ROOTCA)
    assert notice.event == Adopted(versions={ROOTCA: version})
    assert notice.node.report.grade == "agent"
    assert scene.holding.bundle == both


async def test_an_envoy_that_asked_is_waited_for(scene: Scene) -> None:
    """The acknowledgement goes up only after its own."""
    scene.envoy(AUTHZ, Subscribed(names=frozenset({AUTHZ})))
    version = scene.plane.push_policies(policy_body("a"))
    roots = scene.plane.push_roots(scene.ca.root.pem)
    await scene.offered(lambda: scene.holding.policies is not None)
    await scene.said(Adopted, ROOTCA)  # the stream is not held up by the policies
    assert not any(isinstance(n.event, Adopted) and AUTHZ in n.event.versions for n in scene.plane.notices)
    scene.envoy(AUTHZ, Adopted(versions={AUTHZ: version}))
    notice = await scene.said(Adopted, AUTHZ)
    assert notice.node.report.grade == "envoy"
    assert notice.event == Adopted(versions={AUTHZ: version})
    assert roots != version


async def test_a_silent_envoy_is_reported_and_later_cleared(scene: Scene) -> None:
    """By its pid; the same push is acknowledged again when it answers after all."""
    scene.envoy(AUTHZ, Subscribed(names=frozenset({AUTHZ})))
    version = scene.plane.push_policies(policy_body("a"))
    await scene.offered(lambda: scene.holding.policies is not None)
    scene.envoy(AUTHZ, Overdue(versions={AUTHZ: version}))
    first = await scene.said(Adopted, AUTHZ)
    assert first.node.report.pending_pids == (PID,)
    since = scene.mark()
    scene.envoy(AUTHZ, Adopted(versions={AUTHZ: version}))
    second = await scene.said(Adopted, AUTHZ, since)
    assert second.node.report.pending_pids == ()


async def test_a_refusal_goes_up_and_the_old_policies_come_back(scene: Scene) -> None:
    """With the Envoy's words; the store keeps the good set."""
    scene.envoy(AUTHZ, Subscribed(names=frozenset({AUTHZ})))
    good = scene.plane.push_policies(policy_body("good"))
    await scene.offered(lambda: scene.holding.policies is not None)
    scene.envoy(AUTHZ, Adopted(versions={AUTHZ: good}))
    await scene.said(Adopted, AUTHZ)
    bad = scene.plane.push_policies(policy_body("bad"))
    await scene.offered(lambda: scene.holding.policies is not None and scene.holding.policies.version == bad)
    scene.envoy(AUTHZ, Refused(versions={AUTHZ: bad}, error="Proto constraint validation failed"))
    event = (await scene.said(Refused, AUTHZ)).event
    assert isinstance(event, Refused)
    assert "Proto constraint validation failed" in event.error
    assert scene.holding.policies is not None
    assert scene.holding.policies.version == good


@pytest.mark.parametrize("ending", ["heals", "leaves"])
@pytest.mark.parametrize("name", [AUTHZ, ROOTCA])
async def test_an_ill_envoy_takes_nothing_from_a_healthy_one(scene: Scene, name: str, ending: str) -> None:
    """What is pushed stays; the CA hears who holds it up, and of its adoption once that is over."""
    for envoy in ("healthy", "ill"):
        scene.envoy(name, Subscribed(names=frozenset({name})), envoy=envoy)
    scene.envoy(DEFAULT, Subscribed(names=frozenset({DEFAULT})), envoy="ill")
    old = scene.push(name, "old")
    await scene.offered(lambda: scene.version(name) == old)
    for envoy in ("healthy", "ill"):
        scene.envoy(name, Adopted(versions={name: old}), envoy=envoy)
    await scene.said(Adopted, name)
    scene.envoy(DEFAULT, Refused(versions={DEFAULT: "c1"}, error="no P-256"), envoy="ill")
    since = scene.mark()
    new = scene.push(name, "new")
    await scene.offered(lambda: scene.version(name) == new)
    for envoy in ("healthy", "ill"):
        scene.envoy(name, Adopted(versions={name: new}), envoy=envoy)
    report = (await scene.plane.heard(lambda notice: isinstance(notice.event, Stale), since=since)).node.report
    assert report == Report(pending_pids=(PID,), held_up=f"pid {PID} refuses default: no P-256")
    since, before = scene.mark(), scene.plane.notices[since:]
    assert not [notice for notice in before if isinstance(notice.event, Adopted | Refused)]
    assert scene.version(name) == new
    if ending == "heals":
        scene.envoy(DEFAULT, Adopted(versions={DEFAULT: "c2"}), envoy="ill")
    else:
        for one in (name, DEFAULT):
            scene.envoy(one, Closed(names=frozenset({one})), envoy="ill")
    notice = await scene.said(Adopted, name, since)
    report = Report(grade="envoy", leaf=scene.leaf if name == ROOTCA else "")
    assert (notice.event, notice.node.report) == (Adopted(versions={name: new}), report)
    assert scene.version(name) == new
    assert not [notice for notice in scene.plane.notices if isinstance(notice.event, Refused)]


async def test_roots_that_an_envoy_refuses_stay_offered(scene: Scene) -> None:
    """A NACK would make the CA push the old ones again, to all."""
    scene.envoy(ROOTCA, Subscribed(names=frozenset({ROOTCA})))
    new = scene.push(ROOTCA, "new")
    await scene.offered(lambda: scene.version(ROOTCA) == new)
    scene.envoy(ROOTCA, Refused(versions={ROOTCA: new}, error="bad pair"))
    notice = await scene.plane.heard(lambda notice: isinstance(notice.event, Stale))
    assert notice.node.report.held_up == f"pid {PID} refuses ROOTCA: bad pair"
    assert scene.version(ROOTCA) == new
    scene.envoy(ROOTCA, Adopted(versions={ROOTCA: new}))
    assert (await scene.said(Adopted, ROOTCA)).event == Adopted(versions={ROOTCA: new})


async def test_roots_that_one_of_two_envoys_refuses_are_not_adopted(scene: Scene) -> None:
    """The CA hears whom it waits for, and of the adoption once that one takes them."""
    for envoy in ("healthy", "ill"):
        scene.envoy(ROOTCA, Subscribed(names=frozenset({ROOTCA})), envoy=envoy)
    new = scene.push(ROOTCA, "new")
    await scene.offered(lambda: scene.version(ROOTCA) == new)
    scene.envoy(ROOTCA, Adopted(versions={ROOTCA: new}), envoy="healthy")
    scene.envoy(ROOTCA, Refused(versions={ROOTCA: new}, error="bad bundle"), envoy="ill")
    notice = await scene.plane.heard(lambda notice: isinstance(notice.event, Stale))
    assert notice.node.report.held_up == f"pid {PID} refuses ROOTCA: bad bundle"
    assert not any(isinstance(notice.event, Adopted) for notice in scene.plane.notices)
    scene.envoy(ROOTCA, Adopted(versions={ROOTCA: new}), envoy="ill")
    assert (await scene.said(Adopted, ROOTCA)).node.report == Report(grade="envoy", leaf=scene.leaf)


async def test_the_ca_learns_of_a_new_certificate_when_the_envoys_have_it(scene: Scene) -> None:
    """On the same stream, with another word on the same roots."""
    first = scene.leaf
    scene.envoy(DEFAULT, Subscribed(names=frozenset({DEFAULT})))
    scene.envoy(DEFAULT, Adopted(versions={DEFAULT: first}))
    version = scene.push(ROOTCA, "next")
    assert (await scene.said(Adopted, ROOTCA)).node.report.leaf == first
    since = scene.mark()
    scene.holding.take_svid(svid_of(scene.ca))
    scene.envoy(DEFAULT, Adopted(versions={DEFAULT: scene.leaf}))
    notice = await scene.said(Adopted, ROOTCA, since)
    assert (notice.event, notice.node.report.leaf) == (Adopted(versions={ROOTCA: version}), scene.leaf)
    assert scene.leaf != first


@pytest.mark.parametrize(
    ("type_url", "name", "part"),
    [(SECRET_TYPE_URL, ROOTCA, "bad_bundle"), (EXTENSION_TYPE_URL, AUTHZ, "bad_policies")],
)
async def test_garbage_is_refused_before_any_envoy_sees_it(
    scene: Scene, type_url: str, name: str, part: str
) -> None:
    """And the next good push is taken."""
    before = scene.holding.resources(type_url)
    scene.plane.push_raw(type_url, b"\xff garbage")
    event = (await scene.said(Refused, name)).event
    assert isinstance(event, Refused)
    assert part in event.error
    assert scene.holding.resources(type_url) == before
    if name == ROOTCA:
        scene.plane.push_roots(scene.ca.root.pem)
    else:
        scene.plane.push_policies(policy_body("a"))
    await scene.said(Adopted, name)


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


async def test_an_envoy_that_comes_later_raises_the_grade(scene: Scene) -> None:
    """The agent had spoken for itself before."""
    version = scene.plane.push_policies(policy_body("a"))
    assert (await scene.said(Adopted, AUTHZ)).node.report.grade == "agent"
    since = scene.mark()
    scene.envoy(AUTHZ, Subscribed(names=frozenset({AUTHZ})))
    scene.envoy(AUTHZ, Adopted(versions={AUTHZ: version}))
    assert (await scene.said(Adopted, AUTHZ, since)).node.report.grade == "envoy"


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


class _Chatty:
    """An intake whose offering makes an Envoy speak at once."""

    type_url, name = EXTENSION_TYPE_URL, AUTHZ

    def __init__(self) -> None:
        self.line = _Line(self)
        self.said: list[Say | None] = []
        self.verdicts: list[Verdict] = [Rejected(error="no"), InForce(grade="agent"), InForce(grade="agent")]

    def take(self, unverified: bytes) -> None:
        """Offer."""
        if unverified == b"second":
            self.said.append(self.line.review(Envoys()))

    def verdict(self, envoys: Envoys) -> Verdict:
        """The next one."""
        return self.verdicts.pop(0)

    def decided(self, verdict: Verdict) -> None:
        """Nothing."""


def test_nothing_is_said_while_a_push_is_being_offered() -> None:
    """It would answer the push before with the verdict on this one."""
    intake = _Chatty()
    for number, body in (("1", b"first"), ("2", b"second")):
        resource = AnyMessage(type_url=EXTENSION_TYPE_URL, value=body)
        intake.line.take(DiscoveryResponse(version_info=f"v{number}", nonce=f"n{number}", resources=[resource]))
        intake.said.append(intake.line.review(Envoys()))
    first, meanwhile, second = intake.said
    assert first == Say(version="", nonce="n1", error="no")
    assert meanwhile is None
    assert second == Say(version="v2", nonce="n2", verdict=InForce(grade="agent"))

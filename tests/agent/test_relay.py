"""What goes over the agent's stream: pushes down, and up what the agent and its Envoys say of them."""

from __future__ import annotations

import pytest
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryResponse
from google.protobuf.any_pb2 import Any as AnyMessage

from meshca.agent.adopting import Say
from meshca.agent.envoys import Envoys, InForce, Rejected, Verdict
from meshca.agent.relay import _Line
from meshca.clock import SystemClock
from meshca.config.resource_names import AUTHZ, DEFAULT, EXTENSION_TYPE_URL, ROOTCA, SECRET_TYPE_URL
from meshca.discovery.event import Adopted, Closed, Overdue, Refused, Stale, Subscribed
from meshca.wire.node import Report
from tests.agent.relay_scene import PID, Scene
from tests.fakes.agent_values import bundle_of, new_root, policy_body, svid_of


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


async def test_an_envoy_that_comes_later_raises_the_grade(scene: Scene) -> None:
    """The agent had spoken for itself before."""
    version = scene.plane.push_policies(policy_body("a"))
    assert (await scene.said(Adopted, AUTHZ)).node.report.grade == "agent"
    since = scene.mark()
    scene.envoy(AUTHZ, Subscribed(names=frozenset({AUTHZ})))
    scene.envoy(AUTHZ, Adopted(versions={AUTHZ: version}))
    assert (await scene.said(Adopted, AUTHZ, since)).node.report.grade == "envoy"


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

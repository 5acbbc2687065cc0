"""What the agent holds, as its Envoys see it."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta

import pytest
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret

from meshca.agent.holding import Holding
from meshca.config.resource_names import AUTHZ, EXTENSION_TYPE_URL, SECRET_TYPE_URL
from meshca.errors import Unavailable
from tests.fakes.agent_values import NOW, bundle_of, fake_ca, new_root, policies_of, svid_of
from tests.fakes.ca import OWN, FakeCa
from tests.fakes.clock import FakeClock
from tests.fakes.logs import captured_logs


class Scene:
    """A holding and a CA on one clock."""

    def __init__(self) -> None:
        self.clock = FakeClock(NOW)
        self.ca = FakeCa(self.clock)
        self.holding = Holding(self.clock)
        self.woken = 0
        self.holding.watch(self._wake)

    def _wake(self) -> None:
        self.woken += 1

    def names(self, type_url: str = SECRET_TYPE_URL) -> set[str]:
        """What is on the shelf."""
        return set(self.holding.resources(type_url))

    def fill(self) -> None:
        """Certificate and roots."""
        self.holding.take_bundle(bundle_of(self.ca.root))
        self.holding.take_svid(svid_of(self.ca))


@pytest.fixture
def scene() -> Scene:
    """Nothing held yet."""
    return Scene()


def test_nothing_is_offered_before_there_is_something(scene: Scene) -> None:
    """Every name is pending."""
    assert scene.names() == set()
    assert scene.names(EXTENSION_TYPE_URL) == set()


def test_roots_come_before_the_certificate(scene: Scene) -> None:
    """The trust domain's own name needs the certificate."""
    scene.holding.take_bundle(bundle_of(scene.ca.root))
    assert scene.names() == {"ROOTCA"}


def test_four_names_are_offered(scene: Scene) -> None:
    """Istio's names and SPIFFE's."""
    scene.fill()
    assert scene.names() == {"default", "ROOTCA", OWN, "spiffe://cluster.local"}


def test_both_names_of_a_thing_show_the_same(scene: Scene) -> None:
    """Under the same version."""
    scene.fill()
    offered = scene.holding.resources(SECRET_TYPE_URL)
    for one, two in (("default", OWN), ("ROOTCA", "spiffe://cluster.local")):
        assert offered[one].version == offered[two].version
        first, second = Secret.FromString(offered[one].body), Secret.FromString(offered[two].body)
        assert (first.name, second.name) == (one, two)
        first.name = second.name
        assert first == second


def test_the_certificate_secret_holds_chain_and_key(scene: Scene) -> None:
    """In Envoy's message, without the root."""
    scene.fill()
    held = scene.holding.svid
    assert held is not None
    message = Secret.FromString(scene.holding.resources(SECRET_TYPE_URL)["default"].body)
    assert message.tls_certificate.certificate_chain.inline_bytes.decode() == held.chain
    assert message.tls_certificate.private_key.inline_bytes.decode() == held.private.reveal()


def test_a_renewal_changes_the_certificate_only(scene: Scene) -> None:
    """Roots keep their version, so nobody gets them again."""
    scene.fill()
    before = dict(scene.holding.resources(SECRET_TYPE_URL))
    scene.holding.take_svid(svid_of(scene.ca))
    after = scene.holding.resources(SECRET_TYPE_URL)
    assert after["default"].version != before["default"].version
    assert after["ROOTCA"] == before["ROOTCA"]


def test_watchers_are_woken_by_changes_only(scene: Scene) -> None:
    """The same bundle again is no change."""
    scene.fill()
    before = scene.woken
    scene.holding.take_bundle(bundle_of(scene.ca.root))
    assert scene.woken == before
    scene.holding.take_bundle(bundle_of(scene.ca.root, new_root("next")))
    assert scene.woken == before + 1


async def test_an_expired_certificate_is_never_offered(scene: Scene) -> None:
    """Asking for it takes it off the shelf first; the roots stay."""
    scene.fill()
    scene.clock.move(24 * 3600 + 1)
    with captured_logs() as logs:
        await scene.holding.ready(SECRET_TYPE_URL, {"default"})
        await scene.holding.ready(SECRET_TYPE_URL, {"default"})
    assert scene.names() == {"ROOTCA", "spiffe://cluster.local"}
    assert [entry["event"] for entry in logs] == ["certificate.expired"]


async def test_the_end_of_a_certificate_is_noticed_by_itself(scene: Scene) -> None:
    """Streams that hold the old shelf are woken."""
    scene.ca.lifetime = timedelta(minutes=1)
    scene.fill()
    watching = asyncio.create_task(scene.holding.run())
    await scene.clock.advance(59)
    assert "default" in scene.names()
    await scene.clock.advance(2)
    assert "default" not in scene.names()
    watching.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watching


@pytest.mark.parametrize(
    ("jump", "event"),
    [
        pytest.param(timedelta(days=10), "certificate.expired", id="forward"),
        pytest.param(timedelta(hours=-1), "certificate.not_yet_valid", id="backward"),
    ],
)
async def test_a_certificate_comes_back_with_the_time(scene: Scene, jump: timedelta, event: str) -> None:
    """Once the clock is right again `default` is offered within a second, and readiness says the same."""
    scene.fill()
    watching = asyncio.create_task(scene.holding.run())
    with captured_logs() as logs:
        scene.clock._now += jump  # wall time only; steady time did not move
        await scene.clock.advance(1)
        assert "default" not in scene.names()
        assert scene.holding.problem() != ""
        scene.clock._now -= jump
        assert scene.holding.problem() != ""  # as long as it is not offered
        await scene.clock.advance(1)
        assert "default" in scene.names()
        assert scene.holding.problem() == ""
    assert [entry["event"] for entry in logs] == [event, "certificate.valid_again"]
    watching.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watching


async def test_asking_offers_what_is_valid_again(scene: Scene) -> None:
    """Without waiting for the second."""
    svid = svid_of(scene.ca)
    scene.clock._now -= timedelta(hours=1)
    scene.holding.take_svid(svid)
    scene.clock._now += timedelta(hours=1)
    await scene.holding.ready(SECRET_TYPE_URL, {"default"})
    assert "default" in scene.names()


def test_a_certificate_that_has_ended_already_is_not_offered(scene: Scene) -> None:
    """However it came here."""
    svid = svid_of(scene.ca)
    scene.clock.move(25 * 3600)
    scene.holding.take_svid(svid)
    assert "default" not in scene.names()


def test_policies_are_offered_and_taken_back(scene: Scene) -> None:
    """None is none: Envoy then denies by itself, or keeps what it has."""
    scene.holding.take_policies(policies_of("a"))
    assert scene.holding.resources(EXTENSION_TYPE_URL)[AUTHZ].body == policies_of("a").body
    scene.holding.take_policies(None)
    assert scene.names(EXTENSION_TYPE_URL) == set()


def test_readiness_needs_certificate_and_roots(scene: Scene) -> None:
    """And says what is missing."""
    assert scene.holding.problem() == "no certificate yet: no answer of the CA yet"
    scene.holding.renewal_failed(Unavailable("ca_unavailable", "down"))
    assert scene.holding.problem() == "no certificate yet: ca_unavailable: down"
    scene.holding.take_svid(svid_of(scene.ca))
    assert scene.holding.problem() == "no valid root certificates"
    scene.holding.take_bundle(bundle_of(scene.ca.root))
    assert scene.holding.problem() == ""


def test_readiness_ends_with_the_certificate(scene: Scene) -> None:
    """Whatever Envoy still holds."""
    scene.fill()
    scene.holding.renewal_failed(Unavailable("ca_unavailable", "down"))
    assert scene.holding.problem() == ""
    scene.clock.move(24 * 3600 + 1)
    assert scene.holding.problem() == "the certificate is not valid now: ca_unavailable: down"


def test_readiness_ends_with_the_roots(scene: Scene) -> None:
    """Nobody could be verified any more."""
    scene.holding.take_bundle(bundle_of(fake_ca(NOW - timedelta(days=3650, hours=-1)).root))
    scene.holding.take_svid(svid_of(scene.ca))
    assert scene.holding.problem() == ""
    scene.clock.move(2 * 3600)
    assert scene.holding.problem() == "no valid root certificates"


def test_what_is_held_does_not_print_the_key(scene: Scene) -> None:
    """Neither the shelf nor its parts."""
    scene.fill()
    assert "PRIVATE" not in repr(scene.holding.resources(SECRET_TYPE_URL))

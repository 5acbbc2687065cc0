"""Orders to replace the certificate, as one agent stands to them."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshca.agent.chain import fingerprint
from meshca.agent.envoys import Envoys, HeldUp, InForce, Missing, Rejected, Undecided, Verdict
from meshca.agent.order import OrderIntake, Orders
from meshca.backoff import Pace
from meshca.config.resource_names import ORDER, ORDER_TYPE_URL
from meshca.discovery.order import RenewalOrder
from meshca.discovery.resources import order as order_resource
from meshca.errors import Unavailable
from tests.fakes.agent_values import NOW, fake_ca, svid_of
from tests.fakes.clock import FakeClock
from tests.fakes.jitter import Jitter
from tests.fakes.logs import captured_logs

OLD, NEW = "aa" * 32, "bb" * 32
SVID = replace(svid_of(fake_ca()), signers=frozenset({OLD}))
IN_FORCE, ILL, AWAITED = InForce(grade="envoy"), HeldUp(pids=(7,), error="no"), Undecided()


class Scene:
    """An agent's orders; it draws the middle of every window."""

    def __init__(self, part: float = 0.5) -> None:
        self.clock = FakeClock(NOW)
        self.roots: Verdict = IN_FORCE
        self.orders = Orders(Pace(clock=self.clock, rng=Jitter(part)), lambda: self.roots)
        self.looked = 0
        self.intake = OrderIntake(self.orders, self._look)

    def _look(self) -> None:
        self.looked += 1

    def order(self, *signers: str, window: float = 300.0, begun_at: datetime = NOW) -> None:
        """Push one."""
        order = RenewalOrder(signers=frozenset(signers), begun_at=begun_at, window=timedelta(seconds=window))
        self.intake.take(order_resource(order).body)


def test_without_an_order_nothing_is_due() -> None:
    """By order, that is."""
    scene = Scene()
    assert scene.orders.left(SVID) == math.inf
    scene.order()
    assert scene.orders.left(SVID) == math.inf


def test_an_order_is_due_at_our_moment() -> None:
    """Half of the window here; it is looked at as soon as it comes."""
    scene = Scene()
    scene.order(OLD, NEW)
    assert (scene.orders.left(SVID), scene.looked) == (150.0, 1)
    scene.clock.move(151)
    assert scene.orders.left(SVID) == 0.0


def test_an_order_for_others_does_not_concern_us() -> None:
    """Nor the certificate that replaced the one it concerned: it is forgotten."""
    scene = Scene()
    scene.order(NEW, window=0)
    assert scene.orders.left(SVID) == math.inf
    scene.order(OLD, window=0)
    assert scene.orders.left(SVID) == 0.0
    assert scene.orders.left(replace(SVID, signers=frozenset({NEW}))) == math.inf


def test_every_certificate_above_ours_may_be_named() -> None:
    """The root as well: of a CA without intermediates it is what signs."""
    ca = fake_ca()
    above = {fingerprint(ca.signer.certificate), fingerprint(ca.root.certificate)}
    assert svid_of(ca).signers == above
    for signer in above:
        scene = Scene()
        scene.order(signer, window=0)
        assert scene.orders.left(svid_of(ca)) == 0.0


@given(
    st.floats(0, 1, exclude_max=True),
    st.floats(0, 100_000),
    st.floats(0, 200_000),
    st.sets(st.sampled_from([OLD, NEW])),
    st.sampled_from([IN_FORCE, ILL, AWAITED, Missing()]),
)
def test_never_outside_the_window_and_never_for_another_leaf(
    part: float, window: float, later: float, signers: set[str], roots: Verdict
) -> None:
    """Whatever the Envoys say: nobody is told to act before the order was heard, nor later than its end."""
    scene = Scene(part)
    scene.roots = roots
    scene.clock.move(later)
    scene.order(*signers, window=window)
    left = scene.orders.left(SVID)
    if OLD not in signers:
        assert left == math.inf
    elif left != math.inf:
        assert 0 <= left <= max(0.0, window - later) + 1e-3
    else:
        assert roots == AWAITED


def test_an_envoy_that_is_away_is_not_waited_for() -> None:
    """It gets roots and certificate together when it is back; a stolen root is dropped before."""
    scene = Scene()
    scene.roots = Missing()
    scene.order(OLD, window=0)
    assert scene.orders.left(SVID) == 0.0
    assert scene.orders.roots_answered


@pytest.mark.parametrize("window", [0.0, 300.0])
def test_the_envoys_answer_to_the_roots_comes_first(window: float) -> None:
    """Until it comes nothing is due, though the moment has passed."""
    scene = Scene()
    scene.order(OLD, window=window)
    scene.clock.move(200)
    scene.roots = AWAITED
    assert scene.orders.left(SVID) == math.inf
    assert not scene.orders.roots_answered
    scene.roots = IN_FORCE
    assert scene.orders.left(SVID) == 0.0
    assert scene.orders.roots_answered


@pytest.mark.parametrize("roots", [ILL, Rejected(error="no")])
def test_an_ill_envoy_is_waited_for_until_the_window_ends(roots: Verdict) -> None:
    """Then the old root goes, and the healthy ones beside it must not go with it."""
    scene = Scene()
    scene.order(OLD)
    scene.roots = roots
    scene.clock.move(200)
    assert scene.orders.left(SVID) == 100.0
    scene.clock.move(101)
    assert scene.orders.left(SVID) == 0.0
    assert scene.orders.roots_answered


def test_a_late_envoy_is_not_waited_for() -> None:
    """It had its time."""
    scene = Scene()
    scene.order(OLD, window=0)
    scene.roots = InForce(grade="envoy", pending_pids=(7,))
    assert scene.orders.left(SVID) == 0.0


def test_a_certificate_that_changes_nothing_is_tried_again_later() -> None:
    """And said."""
    scene = Scene()
    scene.order(OLD, window=0)
    with captured_logs() as logs:
        scene.orders.came(SVID)
    assert scene.orders.left(SVID) == 1.5
    assert [entry["event"] for entry in logs] == ["order.still_concerned"]
    scene.orders.came(replace(SVID, signers=frozenset({NEW})))
    assert len(logs) == 1


def test_an_order_that_cannot_be_read_changes_nothing() -> None:
    """The one before stands."""
    scene = Scene()
    scene.order(OLD)
    with pytest.raises(Unavailable, match="bad_order"):
        scene.intake.take(b"\xff")
    assert scene.orders.left(SVID) == 150.0


def test_the_ca_hears_that_it_was_taken() -> None:
    """By the agent: Envoys know nothing of orders."""
    intake = Scene().intake
    assert (intake.type_url, intake.name) == (ORDER_TYPE_URL, ORDER)
    assert intake.verdict(Envoys()) == InForce(grade="agent")
    intake.decided(IN_FORCE)

"""Envoys that refuse: policies for all, roots held up until they are mended, and what is told of them."""

from __future__ import annotations

from pathlib import Path

from meshca.agent.attendance import RETURN_SECONDS, SOON_SECONDS, Attendance
from meshca.agent.envoys import LONGEST_ERROR, HeldUp, InForce, Missing, Rejected, Undecided
from meshca.agent.state import State
from meshca.config.resource_names import AUTHZ, DEFAULT, ROOTCA
from meshca.discovery.event import Overdue, Refused, Subscribed
from tests.agent.envoy_fleet import Fleet
from tests.fakes.clock import FakeClock


def test_refused_policies_are_refused_for_all() -> None:
    """With the Envoy's pid and words."""
    fleet = Fleet()
    fleet.asks("a", AUTHZ)
    fleet.asks("b", AUTHZ)
    fleet.takes("a", AUTHZ, "p2")
    fleet.refuses("b", AUTHZ, "p2", "bad filter")
    assert fleet.policies() == Rejected(error=f"pid {ord('b')} refuses {AUTHZ}: bad filter")


def test_roots_count_only_while_no_envoy_refuses_them() -> None:
    """Two Envoys of one agent; one refuses the bundle itself, and later its certificate."""
    fleet = Fleet()
    for envoy in "ab":
        fleet.asks(envoy, ROOTCA, DEFAULT)
        fleet.takes(envoy, DEFAULT, "c1")
    fleet.takes("a", ROOTCA, "v2")
    fleet.refuses("b", ROOTCA, "v2", "bad bundle")
    refused = HeldUp(pids=(ord("b"),), error=f"pid {ord('b')} refuses {ROOTCA}: bad bundle")
    assert fleet.roots() == refused
    fleet.takes("b", ROOTCA, "v2")
    assert fleet.roots() == InForce(grade="envoy")
    fleet.refuses("b", DEFAULT, "c2", "no P-256")
    assert isinstance(fleet.roots(), HeldUp)


def test_refused_roots_are_held_up_not_at_fault() -> None:
    """The agent has checked them; Envoy refuses good secrets with the error of another one."""
    fleet = Fleet()
    fleet.asks("a", ROOTCA)
    fleet.asks("b", ROOTCA)
    fleet.takes("a", ROOTCA, "v2")
    fleet.refuses("b", ROOTCA, "v2", "bad roots")
    assert fleet.roots() == HeldUp(pids=(ord("b"),), error=f"pid {ord('b')} refuses ROOTCA: bad roots")


def test_another_refused_secret_holds_up_what_is_acknowledged() -> None:
    """An acknowledgement alone is not adoption; and the fault is not in what was acknowledged."""
    fleet = Fleet()
    fleet.asks("a", ROOTCA, DEFAULT, AUTHZ)
    fleet.takes("a", ROOTCA, "v2")
    fleet.takes("a", AUTHZ, "p2")
    fleet.refuses("a", DEFAULT, "c1")
    held_up = HeldUp(pids=(ord("a"),), error=f"pid {ord('a')} refuses default: no")
    assert [fleet.roots(), fleet.policies()] == [held_up, held_up]
    fleet.takes("a", DEFAULT, "c1")
    assert [fleet.roots(), fleet.policies()] == [InForce(grade="envoy")] * 2


def test_one_ill_envoy_holds_up_what_the_others_took() -> None:
    """Until it leaves; who does not answer is named beside it."""
    fleet = Fleet()
    for envoy in "abc":
        fleet.asks(envoy, AUTHZ, DEFAULT)
        fleet.takes(envoy, AUTHZ, "p2")
    fleet.refuses("b", DEFAULT, "c1")
    assert fleet.policies("p3") == Undecided()
    for envoy in "ab":
        fleet.takes(envoy, AUTHZ, "p3")
    fleet.tell("c", AUTHZ, Overdue(versions={AUTHZ: "p3"}))
    words = f"pid {ord('b')} refuses default: no"
    assert fleet.policies("p3") == HeldUp(pids=(ord("b"), ord("c")), error=words)
    fleet.leaves("b", AUTHZ, DEFAULT)
    assert fleet.policies("p3") == InForce(grade="envoy", pending_pids=(ord("c"),))


def test_an_ill_envoy_that_did_not_ask_holds_nothing_up() -> None:
    """It has no use for policies."""
    fleet = Fleet()
    fleet.asks("a", AUTHZ)
    fleet.takes("a", AUTHZ, "p2")
    fleet.asks("b", DEFAULT)
    fleet.refuses("b", DEFAULT, "c1")
    assert fleet.policies() == InForce(grade="envoy")


def test_refused_policies_do_not_spoil_the_roots() -> None:
    """Policies are no secret."""
    fleet = Fleet()
    fleet.asks("a", ROOTCA, AUTHZ)
    fleet.takes("a", ROOTCA, "v2")
    fleet.refuses("a", AUTHZ, "p2")
    assert fleet.roots() == InForce(grade="envoy")


def test_a_refused_version_stays_refused_after_the_last_good_one_is_back() -> None:
    """The session pushes the good one again; that mends the Envoy, not the version."""
    fleet = Fleet()
    fleet.asks("a", ROOTCA)
    fleet.takes("a", ROOTCA, "v1")
    fleet.refuses("a", ROOTCA, "v2")
    fleet.takes("a", ROOTCA, "v1")
    assert isinstance(fleet.roots("v2"), HeldUp)
    assert fleet.roots("v1") == InForce(grade="envoy")


def test_a_refused_version_that_is_taken_later_is_in_force() -> None:
    """The refusal was about something else."""
    fleet = Fleet()
    fleet.asks("a", ROOTCA)
    fleet.refuses("a", ROOTCA, "v2")
    fleet.takes("a", ROOTCA, "v2")
    assert fleet.roots() == InForce(grade="envoy")


def test_a_refusal_of_several_names_waits_for_the_single_answers() -> None:
    """It does not say which; each is pushed again by itself."""
    fleet = Fleet()
    fleet.tell("a", ROOTCA, Subscribed(names=frozenset({ROOTCA, DEFAULT})))
    fleet.tell("a", ROOTCA, Refused(versions={ROOTCA: "v2", DEFAULT: "c1"}, error="one of them"))
    assert fleet.roots() == Undecided()


def test_what_an_envoy_says_is_cut_short() -> None:
    """It goes to the CA."""
    fleet = Fleet()
    fleet.asks("a", ROOTCA, AUTHZ)
    fleet.refuses("a", ROOTCA, "v2", "x" * 10_000)
    fleet.refuses("a", AUTHZ, "p2", "x" * 10_000)
    roots, policies = fleet.roots(), fleet.policies()
    assert isinstance(roots, HeldUp)
    assert isinstance(policies, Rejected)
    assert [len(roots.error), len(policies.error)] == [LONGEST_ERROR] * 2


def test_a_refusal_is_told_while_others_may_come_back(tmp_path: Path) -> None:
    """It stands whatever they say; and whoever stays away does not count in the end."""
    clock, state = FakeClock(), State(tmp_path)
    Fleet(Attendance(clock, state)).asks("a", ROOTCA, DEFAULT, AUTHZ)
    fleet = Fleet(Attendance(clock, state))
    fleet.asks("b", ROOTCA, AUTHZ)
    fleet.refuses("b", AUTHZ, "p2")
    assert isinstance(fleet.policies(), Rejected)
    fleet.refuses("b", ROOTCA, "v2")
    assert isinstance(fleet.roots(), HeldUp)
    fleet.takes("b", ROOTCA, "v2")
    assert fleet.roots() == Missing()
    clock.move(RETURN_SECONDS)
    assert fleet.roots() == InForce(grade="envoy")


def test_a_refusal_does_not_end_with_the_connection() -> None:
    """An Envoy that refuses and connects anew gets a moment to say so again."""
    clock = FakeClock()
    fleet = Fleet(Attendance(clock, None))
    fleet.asks("a", ROOTCA)
    fleet.refuses("a", ROOTCA, "v2")
    clock.move(SOON_SECONDS)
    fleet.leaves("a", ROOTCA)
    assert fleet.roots() == Missing()
    clock.move(SOON_SECONDS)
    assert fleet.roots() == InForce(grade="agent")

"""Which Envoys have adopted what: who counts, who is late, and who may come back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from meshca.agent.attendance import Attendance
from meshca.agent.envoys import HeldUp, InForce, Missing, Undecided
from meshca.agent.state import State
from meshca.config.resource_names import AUTHZ, DEFAULT, ROOTCA
from meshca.discovery.event import Adopted, Closed, Event, Overdue, Pending, Refused, Sent, Stale, Subscribed
from tests.agent.envoy_fleet import ROOT_NAMES, Fleet
from tests.fakes.clock import FakeClock


def test_without_an_envoy_the_agent_speaks_for_itself() -> None:
    """And says so."""
    assert Fleet().roots() == InForce(grade="agent")


def test_an_envoy_that_did_not_ask_does_not_count() -> None:
    """It has no use for these roots."""
    fleet = Fleet()
    fleet.asks("a", DEFAULT)
    assert fleet.roots() == InForce(grade="agent")


def test_nothing_is_decided_before_every_envoy_answered() -> None:
    """One of two is not all."""
    fleet = Fleet()
    fleet.asks("a", ROOTCA)
    fleet.asks("b", ROOTCA)
    fleet.takes("a", ROOTCA, "v2")
    assert fleet.roots() == Undecided()
    fleet.takes("b", ROOTCA, "v2")
    assert fleet.roots() == InForce(grade="envoy")


def test_the_version_before_does_not_count() -> None:
    """Only what is offered now."""
    fleet = Fleet()
    fleet.asks("a", ROOTCA)
    fleet.takes("a", ROOTCA, "v1")
    assert fleet.roots("v2") == Undecided()


def test_both_names_of_the_roots_count() -> None:
    """An Envoy may ask by the trust domain."""
    fleet = Fleet()
    fleet.asks("a", ROOT_NAMES[1])
    assert fleet.roots() == Undecided()


def test_a_late_envoy_is_named_and_holds_nothing_up() -> None:
    """By its process id; until it answers after all."""
    fleet = Fleet()
    fleet.asks("a", ROOTCA)
    fleet.asks("b", ROOTCA)
    fleet.takes("a", ROOTCA, "v2")
    fleet.tell("b", ROOTCA, Overdue(versions={ROOTCA: "v2"}))
    assert fleet.roots() == InForce(grade="envoy", pending_pids=(ord("b"),))
    fleet.takes("b", ROOTCA, "v2")
    assert fleet.roots() == InForce(grade="envoy")


def test_late_envoys_are_named_in_order() -> None:
    """So that equal reports are equal."""
    fleet = Fleet()
    for envoy in "cab":
        fleet.asks(envoy, ROOTCA)
        fleet.tell(envoy, ROOTCA, Overdue(versions={ROOTCA: "v2"}))
    assert fleet.roots() == InForce(grade="envoy", pending_pids=(97, 98, 99))


def test_being_late_with_an_old_version_is_forgotten() -> None:
    """The next version has its own time."""
    fleet = Fleet()
    fleet.asks("a", ROOTCA)
    fleet.tell("a", ROOTCA, Overdue(versions={ROOTCA: "v1"}))
    assert fleet.roots("v2") == Undecided()


def test_an_envoy_that_leaves_does_not_count_any_more() -> None:
    """Neither its refusals nor its silence."""
    fleet = Fleet()
    fleet.asks("a", ROOTCA)
    fleet.asks("b", ROOTCA, DEFAULT)
    fleet.takes("a", ROOTCA, "v2")
    fleet.refuses("b", ROOTCA, "v2")
    fleet.leaves("b", ROOTCA, DEFAULT)
    assert fleet.roots() == InForce(grade="envoy")
    assert len(fleet.envoys) == 1


def test_a_name_that_is_dropped_does_not_count_any_more() -> None:
    """The Envoy unsubscribed."""
    fleet = Fleet()
    fleet.asks("a", ROOTCA)
    fleet.tell("a", ROOTCA, Subscribed(names=frozenset()))
    assert fleet.roots() == InForce(grade="agent")


def test_events_of_unknown_streams_and_names_change_nothing() -> None:
    """Late words of a stream that is gone."""
    fleet = Fleet()
    versions: Mapping[str, str] = {ROOTCA: "v2"}
    fleet.takes("a", ROOTCA, "v2")
    fleet.asks("b", DEFAULT)
    events: list[Event] = [
        Adopted(versions=versions),
        Overdue(versions=versions),
        Refused(versions=versions, error=""),
    ]
    for event in events:
        fleet.tell("b", DEFAULT, event)
    assert fleet.roots() == InForce(grade="agent")


def test_nothing_is_in_force_while_an_envoy_that_was_here_may_come_back(tmp_path: Path) -> None:
    """An agent that starts again waits until each name is asked for again, then for the answers."""
    clock, state = FakeClock(), State(tmp_path)
    Fleet(Attendance(clock, state)).asks("a", DEFAULT, ROOTCA, AUTHZ)
    fleet = Fleet(Attendance(clock, state))
    assert [fleet.roots(), fleet.policies()] == [Missing(), Missing()]
    fleet.asks("a", DEFAULT, AUTHZ)
    fleet.takes("a", AUTHZ, "p2")
    assert [fleet.roots(), fleet.policies()] == [Missing(), Missing()]
    fleet.asks("a", ROOTCA)
    assert fleet.roots() == Undecided()
    fleet.refuses("a", ROOTCA, "v2")
    assert isinstance(fleet.roots(), HeldUp)


_EVENTS = st.sampled_from(
    [
        Subscribed(names=frozenset({ROOTCA})),
        Subscribed(names=frozenset()),
        Sent(versions={ROOTCA: "v2"}),
        Adopted(versions={ROOTCA: "v1"}),
        Adopted(versions={ROOTCA: "v2"}),
        Refused(versions={ROOTCA: "v1"}, error="no"),
        Refused(versions={ROOTCA: "v2"}, error="no"),
        Overdue(versions={ROOTCA: "v2"}),
        Pending(names=frozenset({ROOTCA})),
        Stale(),
        Closed(names=frozenset({ROOTCA})),
    ]
)


@given(st.lists(st.tuples(st.sampled_from("ab"), _EVENTS), max_size=30))
def test_in_force_means_that_each_subscriber_took_it_last_or_is_named(story: list[tuple[str, Event]]) -> None:
    """Whatever happened before."""
    fleet = Fleet()
    subscribed: dict[str, bool] = {}
    last: dict[str, Event] = {}
    for envoy, event in story:
        fleet.tell(envoy, ROOTCA, event)
        if isinstance(event, Closed):
            subscribed.pop(envoy, None)
            last.pop(envoy, None)
        elif isinstance(event, Subscribed):
            subscribed[envoy] = bool(event.names)
            if not event.names:
                last.pop(envoy, None)
        elif subscribed.get(envoy) and isinstance(event, Adopted | Refused):
            last[envoy] = event
    verdict = fleet.roots("v2")
    asking = [envoy for envoy, asks in subscribed.items() if asks]
    if isinstance(verdict, InForce):
        assert verdict.grade == ("envoy" if asking else "agent")
        took = [envoy for envoy in asking if last.get(envoy) == Adopted(versions={ROOTCA: "v2"})]
        assert {ord(envoy) for envoy in asking if envoy not in took} == set(verdict.pending_pids)
    if any(isinstance(last.get(envoy), Refused) for envoy in asking):
        assert isinstance(verdict, HeldUp | Undecided)

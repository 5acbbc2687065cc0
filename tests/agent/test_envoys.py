"""Which Envoys have adopted what."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from meshca.agent.attendance import RETURN_SECONDS, SOON_SECONDS, Attendance
from meshca.agent.envoys import LONGEST_ERROR, Envoys, HeldUp, InForce, Missing, Rejected, Undecided
from meshca.agent.state import State
from meshca.config.resource_names import AUTHZ, DEFAULT, EXTENSION_TYPE_URL, ROOTCA, SECRET_TYPE_URL
from meshca.discovery.event import Adopted, Closed, Event, Overdue, Pending, Refused, Sent, Stale, Subscribed
from meshca.wire.node import Node
from meshca.wire.xds_streams import Notice
from tests.fakes.clock import FakeClock

ROOT_NAMES = (ROOTCA, "spiffe://cluster.local")


class Fleet:
    """Envoys by a letter each; a stream for each of their names."""

    def __init__(self, attendance: Attendance | None = None) -> None:
        self.envoys = Envoys(attendance)

    def tell(self, envoy: str, name: str, event: Event) -> None:
        """Something happened on an Envoy's stream for a name."""
        type_url = EXTENSION_TYPE_URL if name == AUTHZ else SECRET_TYPE_URL
        notice = Notice(peer=envoy, stream=f"{envoy}-{name}", node=Node(), type_url=type_url, event=event)
        self.envoys.observe(notice, ord(envoy))

    def asks(self, envoy: str, *names: str) -> None:
        """Subscribe."""
        for name in names:
            self.tell(envoy, name, Subscribed(names=frozenset({name})))

    def takes(self, envoy: str, name: str, version: str) -> None:
        """Acknowledge."""
        self.tell(envoy, name, Adopted(versions={name: version}))

    def refuses(self, envoy: str, name: str, version: str, error: str = "no") -> None:
        """Refuse."""
        self.tell(envoy, name, Refused(versions={name: version}, error=error))

    def leaves(self, envoy: str, *names: str) -> None:
        """Disconnect."""
        for name in names:
            self.tell(envoy, name, Closed(names=frozenset({name})))

    def roots(self, version: str = "v2") -> object:
        """The verdict on the roots."""
        return self.envoys.verdict(SECRET_TYPE_URL, ROOT_NAMES, version)

    def policies(self, version: str = "p2") -> object:
        """The verdict on the policies."""
        return self.envoys.verdict(EXTENSION_TYPE_URL, (AUTHZ,), version)


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

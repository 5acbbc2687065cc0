"""From notices to adoption records."""

from __future__ import annotations

import pytest
from prometheus_client import REGISTRY

from meshca.authority.adoption import Adoption, Grade, Kind
from meshca.config.resource_names import AUTHZ, EXTENSION_TYPE_URL, ORDER, ORDER_TYPE_URL, ROOTCA, SECRET_TYPE_URL
from meshca.discovery.event import Adopted, Closed, Event, Overdue, Pending, Refused, Sent, Stale, Subscribed
from meshca.identity.spiffe_id import SpiffeId, TrustDomain
from meshca.rpc.adoptions import AGENTS, ENVOYS, ILL, NO_ANSWER, Adoptions
from meshca.wire.node import Node, Report
from meshca.wire.xds_streams import Notice, Observer
from tests.fakes.adoption import RecordedAdoptions
from tests.fakes.callers import POD, caller
from tests.fakes.clock import FakeClock
from tests.fakes.logs import captured_logs

BY_ENVOY = Report(grade="envoy")


class Watched:
    """A worker's observer, and notices put into it."""

    def __init__(self) -> None:
        self.store = RecordedAdoptions()
        self.clock = FakeClock()
        self.adoptions = Adoptions(self.store, TrustDomain("cluster.local"), self.clock, "worker-1")
        self.agent = self.adoptions.observer(caller(), AGENTS)
        self.envoy = self.adoptions.observer(caller(), ENVOYS)

    def tell(self, observer: Observer, event: Event, stream: str = "s1", report: Report | None = None) -> None:
        """About secrets."""
        node = Node(id="node-1", instance="7c", report=report or Report())
        observer(Notice(peer="peer", stream=stream, node=node, type_url=SECRET_TYPE_URL, event=event))

    def tell_policies(self, observer: Observer, event: Event, stream: str = "s1") -> None:
        """About policies."""
        node = Node(id="node-1", report=BY_ENVOY)
        observer(Notice(peer="peer", stream=stream, node=node, type_url=EXTENSION_TYPE_URL, event=event))

    def tell_order(self, event: Event, report: Report | None = None) -> None:
        """About an order to renew."""
        node = Node(id="node-1", report=report or Report())
        self.agent(Notice(peer="peer", stream="s1", node=node, type_url=ORDER_TYPE_URL, event=event))

    def roots(self) -> Adoption:
        """What is recorded of the roots."""
        return self.store.last(Kind.ROOTS)


@pytest.fixture
def watched() -> Watched:
    """Nothing has happened yet."""
    return Watched()


def roots(version: str) -> dict[str, str]:
    """A version of the roots by its name."""
    return {ROOTCA: version}


def test_agent_is_known_by_its_proof(watched: Watched) -> None:
    """Identity and pod from the caller; the node's name and which agent of the pod it is are labels."""
    watched.tell(watched.agent, Subscribed(names=frozenset({ROOTCA}), held="r0"))
    record = watched.roots()
    assert record.agent == SpiffeId.parse("spiffe://cluster.local/ns/shop/sa/web")
    assert (record.node_id, record.pod, record.pod_uid) == ("node-1", POD.name, POD.uid)
    assert record.instance == "7c"
    assert (record.worker, record.stream, record.connected) == ("worker-1", "s1", True)


def test_subscription_says_what_is_held(watched: Watched) -> None:
    """An agent that reconnects still holds its roots; nobody vouches yet on this stream."""
    watched.tell(watched.agent, Subscribed(names=frozenset({ROOTCA}), held="r0"))
    record = watched.roots()
    assert (record.sent_version, record.adopted_version, record.grade) == ("", "r0", Grade.NONE)


def test_sent_is_not_adopted(watched: Watched) -> None:
    """What is on its way is shown beside what is in force."""
    watched.tell(watched.agent, Subscribed(names=frozenset({ROOTCA}), held="r0"))
    watched.tell(watched.agent, Sent(versions=roots("r1")))
    assert (watched.roots().sent_version, watched.roots().adopted_version) == ("r1", "r0")


@pytest.mark.parametrize(
    ("report", "grade"),
    [
        pytest.param(BY_ENVOY, Grade.ENVOY, id="by its Envoys"),
        pytest.param(Report(grade="agent"), Grade.AGENT, id="by itself"),
        pytest.param(Report(), Grade.AGENT, id="without a word"),
    ],
)
def test_agent_adopts_on_the_word_it_gives(watched: Watched, report: Report, grade: Grade) -> None:
    """The grade is the agent's; silence counts for the agent only."""
    watched.tell(watched.agent, Sent(versions=roots("r1")))
    watched.tell(watched.agent, Adopted(versions=roots("r1")), report=report)
    assert (watched.roots().adopted_version, watched.roots().grade) == ("r1", grade)


def test_pending_envoys_are_named(watched: Watched) -> None:
    """And no longer once they have answered."""
    watched.tell(watched.agent, Adopted(versions=roots("r1")), report=Report(grade="envoy", pending_pids=(7,)))
    assert watched.roots().pending_pids == (7,)
    watched.tell(watched.agent, Adopted(versions=roots("r1")), report=BY_ENVOY)
    assert watched.roots().pending_pids == ()


def test_refusal_keeps_what_is_in_force(watched: Watched) -> None:
    """With the client's words, until it adopts something."""
    watched.tell(watched.agent, Adopted(versions=roots("r1")), report=BY_ENVOY)
    watched.tell(watched.agent, Refused(versions=roots("r2"), error="bad roots"))
    record = watched.roots()
    assert (record.adopted_version, record.grade, record.error) == ("r1", Grade.REFUSED, "bad roots")
    watched.tell(watched.agent, Adopted(versions=roots("r3")), report=BY_ENVOY)
    record = watched.roots()
    assert (record.adopted_version, record.grade, record.error) == ("r3", Grade.ENVOY, "")


def test_silence_is_recorded(watched: Watched) -> None:
    """The last answer stays."""
    watched.tell(watched.agent, Adopted(versions=roots("r1")), report=BY_ENVOY)
    watched.tell(watched.agent, Overdue(versions=roots("r2")))
    assert (watched.roots().adopted_version, watched.roots().error) == ("r1", NO_ANSWER)


def test_what_holds_up_is_recorded(watched: Watched) -> None:
    """Neither adopted nor refused; the words outlast the answer timeout, not the adoption."""
    watched.tell(watched.agent, Adopted(versions=roots("r1")), report=BY_ENVOY)
    watched.tell(watched.agent, Sent(versions=roots("r2")))
    with captured_logs() as logs:
        watched.tell(watched.agent, Stale(), report=Report(pending_pids=(7,), held_up="pid 7 refuses default: no"))
    watched.tell(watched.agent, Overdue(versions=roots("r2")))
    record = watched.roots()
    assert (record.sent_version, record.adopted_version, record.grade) == ("r2", "r1", Grade.ENVOY)
    assert (record.pending_pids, record.error) == ((7,), "pid 7 refuses default: no")
    assert [entry["event"] for entry in logs] == ["xds.held_up"]
    watched.tell(watched.agent, Adopted(versions=roots("r2")), report=BY_ENVOY)
    record = watched.roots()
    assert (record.adopted_version, record.pending_pids, record.error) == ("r2", (), "")


def test_what_holds_up_nothing_that_was_sent_is_not_recorded(watched: Watched) -> None:
    """A report comes after a push."""
    watched.tell(watched.agent, Stale(), report=Report(held_up="words"))
    assert watched.store.records == []


def test_an_agent_says_which_certificate_is_in_force(watched: Watched) -> None:
    """With its acknowledgement of the roots, and again when that changes; it stays while nothing is said."""
    watched.tell(watched.agent, Adopted(versions=roots("r1")), report=Report(grade="envoy", leaf="5f"))
    assert watched.roots().leaf == "5f"
    watched.tell(watched.agent, Refused(versions=roots("r2"), error="no"))
    assert (watched.roots().grade, watched.roots().leaf) == (Grade.REFUSED, "5f")
    watched.tell(watched.agent, Adopted(versions=roots("r2")), report=Report(grade="envoy", leaf="60"))
    assert watched.roots().leaf == "60"


def test_a_new_connection_has_not_said_which_certificate_is_in_force(watched: Watched) -> None:
    """What another said may not be so any more."""
    watched.tell(watched.agent, Adopted(versions=roots("r1")), report=Report(grade="envoy", leaf="5f"))
    watched.tell(watched.agent, Closed(names=frozenset({ROOTCA})))
    watched.tell(watched.agent, Subscribed(names=frozenset({ROOTCA}), held="r1"), stream="s2")
    assert watched.roots().leaf == ""


def test_an_envoy_without_an_agent_acknowledges_its_certificate(watched: Watched) -> None:
    """On whichever stream of its connection, before or after its roots."""
    watched.tell(watched.envoy, Adopted(versions={"default": "5f"}), stream="s2")
    watched.tell(watched.envoy, Adopted(versions=roots("r1")))
    assert watched.roots().leaf == "5f"
    watched.tell(watched.envoy, Refused(versions={"default": "60"}, error="no"), stream="s2")
    assert watched.roots().leaf == "5f"
    watched.tell(watched.envoy, Adopted(versions={"default": "61"}), stream="s2")
    assert watched.roots().leaf == "61"


def test_a_certificate_that_an_ill_envoy_acknowledges_is_not_in_force(watched: Watched) -> None:
    """It is once nothing of that connection stands refused: Envoy acknowledges what it cannot use yet."""
    watched.tell(watched.envoy, Adopted(versions=roots("r1")))
    watched.tell(watched.envoy, Adopted(versions={"default": "5f"}), stream="s2")
    watched.tell(watched.envoy, Refused(versions=roots("r2"), error="no"))
    watched.tell(watched.envoy, Adopted(versions={"default": "60"}), stream="s2")
    assert watched.roots().leaf == "5f"
    watched.tell(watched.envoy, Adopted(versions=roots("r3")))
    assert watched.roots().leaf == "60"


def test_policies_are_recorded_beside_roots(watched: Watched) -> None:
    """One stream, two kinds."""
    watched.tell(watched.agent, Adopted(versions=roots("r1")), report=BY_ENVOY)
    watched.tell_policies(watched.agent, Adopted(versions={AUTHZ: "p1"}))
    assert watched.roots().adopted_version == "r1"
    assert watched.store.last(Kind.POLICIES).adopted_version == "p1"


def test_roots_have_two_names(watched: Watched) -> None:
    """The trust domain's ID means them, too; a certificate is no kind."""
    watched.tell(watched.envoy, Adopted(versions={"spiffe://cluster.local": "r1", "default": "c1"}))
    assert watched.roots().adopted_version == "r1"
    assert len(watched.store.records) == 1


class TestEnvoy:
    """An Envoy that speaks for itself."""

    def test_vouches_for_itself(self, watched: Watched) -> None:
        """Its acknowledgement is an Envoy's."""
        watched.tell(watched.envoy, Adopted(versions=roots("r1")))
        assert (watched.roots().adopted_version, watched.roots().grade) == ("r1", Grade.ENVOY)

    def test_adopts_no_roots_while_a_secret_stands_refused(self, watched: Watched) -> None:
        """Envoy acknowledges what it cannot use; what it acknowledged counts once it is well."""
        watched.tell(watched.envoy, Adopted(versions=roots("r1")), "s1")
        watched.tell(watched.envoy, Refused(versions={"default": "c1"}, error="bad pair"), "s2")
        watched.tell(watched.envoy, Adopted(versions=roots("r2")), "s1")
        record = watched.roots()
        assert (record.adopted_version, record.grade, record.error) == ("r1", Grade.REFUSED, ILL)
        watched.tell(watched.envoy, Adopted(versions={"default": "c2"}), "s2")
        record = watched.roots()
        assert (record.adopted_version, record.grade, record.error) == ("r2", Grade.ENVOY, "")

    def test_refused_policies_do_not_touch_roots(self, watched: Watched) -> None:
        """Envoy keeps them apart."""
        watched.tell_policies(watched.envoy, Refused(versions={AUTHZ: "p1"}, error="bad"), "s2")
        watched.tell(watched.envoy, Adopted(versions=roots("r1")), "s1")
        assert (watched.roots().adopted_version, watched.roots().grade) == ("r1", Grade.ENVOY)

    def test_stream_that_ends_takes_its_refusals_with_it(self, watched: Watched) -> None:
        """A new stream of the same connection begins anew."""
        watched.tell(watched.envoy, Adopted(versions=roots("r1")), "s1")
        watched.tell(watched.envoy, Refused(versions={"default": "c1"}, error="bad pair"), "s2")
        watched.tell(watched.envoy, Closed(names=frozenset({"default"})), "s2")
        watched.tell(watched.envoy, Adopted(versions=roots("r2")), "s1")
        assert watched.roots().adopted_version == "r2"

    def test_nothing_is_kept_of_a_connection_that_ended(self, watched: Watched) -> None:
        """Memory does not grow with the clients that came and went."""
        for number in range(3):
            stream = f"s{number}"
            watched.tell(watched.envoy, Refused(versions={"default": "c1"}, error="bad"), stream)
            watched.tell(watched.envoy, Adopted(versions=roots("r1")), stream)
            watched.tell(watched.envoy, Closed(names=frozenset()), stream)
        inside = watched.adoptions
        assert (inside._latest, inside._held_back, inside._open, inside._refused) == ({}, {}, {}, {})


def test_end_of_a_stream_is_told_once(watched: Watched) -> None:
    """Both of its subscriptions end."""
    watched.tell(watched.agent, Subscribed(names=frozenset({ROOTCA})))
    watched.tell_policies(watched.agent, Subscribed(names=frozenset({AUTHZ})))
    watched.tell(watched.agent, Closed(names=frozenset({ROOTCA})))
    watched.tell_policies(watched.agent, Closed(names=frozenset({AUTHZ})))
    assert watched.store.ended == [("worker-1", "s1")]


def test_last_words_carry_the_time(watched: Watched) -> None:
    """When the agent was last heard."""
    watched.tell(watched.agent, Sent(versions=roots("r1")))
    watched.clock.move(60)
    watched.tell(watched.agent, Adopted(versions=roots("r1")))
    assert watched.roots().seen_at == watched.clock.now()


def test_troubles_are_logged_with_the_caller(watched: Watched) -> None:
    """Unknown names, refusals and silence; not what goes well."""
    with captured_logs() as logs:
        watched.tell(watched.agent, Pending(names=frozenset({"what"})))
        watched.tell(watched.agent, Stale())
        watched.tell(watched.agent, Adopted(versions=roots("r1")))
        watched.tell(watched.agent, Refused(versions=roots("r2"), error="bad"))
        watched.tell(watched.agent, Overdue(versions=roots("r3")))
    assert [(entry["event"], entry["caller"]) for entry in logs] == [
        ("xds.pending", "shop/web"),
        ("xds.nack", "shop/web"),
        ("xds.overdue", "shop/web"),
    ]


def sample(name: str, **labels: str) -> float:
    """The value of a metric now."""
    return REGISTRY.get_sample_value(name, labels) or 0.0


def test_streams_and_answers_are_counted(watched: Watched) -> None:
    """By kind of door; by resource and answer."""
    before = {
        answer: sample("meshca_subscription_answers_total", resource="roots", answer=answer)
        for answer in ("ack", "nack", "overdue")
    }
    certificates = sample("meshca_subscription_answers_total", resource="certificate", answer="ack")
    streams = sample("meshca_streams", kind="sds")
    watched.tell(watched.envoy, Adopted(versions={ROOTCA: "r1", "default": "c1"}))
    assert sample("meshca_streams", kind="sds") == streams + 1
    watched.tell(watched.envoy, Refused(versions=roots("r2"), error=""))
    watched.tell(watched.envoy, Overdue(versions=roots("r3")))
    watched.tell(watched.envoy, Closed(names=frozenset()))
    assert sample("meshca_streams", kind="sds") == streams
    for answer, value in before.items():
        assert sample("meshca_subscription_answers_total", resource="roots", answer=answer) == value + 1
    assert sample("meshca_subscription_answers_total", resource="certificate", answer="ack") == certificates + 1


def test_an_order_is_no_adoption(watched: Watched) -> None:
    """That an agent took it is counted under its own name; what it does is seen from its leaf."""
    labels = {"resource": ORDER, "answer": "ack"}
    before = REGISTRY.get_sample_value("meshca_subscription_answers_total", labels) or 0.0
    watched.tell_order(Subscribed(names=frozenset({ORDER})))
    watched.tell_order(Adopted(versions={ORDER: "o1"}))
    assert REGISTRY.get_sample_value("meshca_subscription_answers_total", labels) == before + 1
    assert watched.store.records == []


def test_what_an_agent_says_to_hold_up_an_order_is_only_logged(watched: Watched) -> None:
    """No agent of ours says so; one that does breaks nothing."""
    with captured_logs() as logs:
        watched.tell_order(Stale(), Report(held_up="pid 7"))
    assert [line["event"] for line in logs] == ["xds.held_up"]
    assert watched.store.records == []

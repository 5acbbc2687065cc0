"""The xDS session's table, row by row."""

from __future__ import annotations

import pytest

from meshca.discovery.event import Adopted, Overdue, Pending, Push, Refused, Resource, Stale, Subscribed
from meshca.discovery.session import MAX_NAMES, Session
from meshca.errors import BadRequest

TIMEOUT = 10.0


def res(name: str, version: str) -> Resource:
    """A resource whose body says what it is."""
    return Resource(name=name, version=version, body=f"{name} {version}".encode())


def shelf(**versions: str) -> dict[str, Resource]:
    """Resources by name."""
    return {name: res(name, version) for name, version in versions.items()}


class Client:
    """A session with the client's half of the conversation."""

    def __init__(self, **versions: str) -> None:
        self.session = Session(stream_id="s", answer_timeout=TIMEOUT)
        self.session.offer(shelf(**versions))
        self.now = 0.0
        self.names: list[str] = []

    def ask(self, *names: str) -> tuple[object, ...]:
        """The first request of a stream."""
        self.names = list(names)
        return self.session.ask(self.names)

    def push(self) -> Push:
        """What is sent now."""
        push = self.session.next_push(self.now)
        assert push is not None
        return push

    def sent(self) -> dict[str, str] | None:
        """Versions by name of what is sent now, None for silence."""
        push = self.session.next_push(self.now)
        return None if push is None else {r.name: r.version for r in push.resources}

    def ack(self, push: Push, *names: str) -> tuple[object, ...]:
        """An acknowledgement, with other names if given."""
        self.names = list(names) or self.names
        return self.session.ask(self.names, nonce=push.nonce, version=push.version)

    def nack(self, push: Push, version: str = "", error: str = "bad") -> tuple[object, ...]:
        """A refusal, naming the version in use."""
        return self.session.ask(self.names, nonce=push.nonce, version=version, error=error)


def settled(**versions: str) -> Client:
    """A client that has acknowledged all of these."""
    client = Client(**versions)
    client.ask(*versions)
    client.ack(client.push())
    return client


def test_first_request_is_answered_with_what_it_names() -> None:
    """The first request gets the resources it names and no others."""
    client = Client(default="1", ROOTCA="1")
    client.ask("default")
    assert client.sent() == {"default": "1"}


def test_reconnecting_client_gets_everything() -> None:
    """A first request with an old version and an old or empty nonce gets a full answer."""
    for nonce in ("", "old-7"):
        client = Client(default="1")
        client.session.ask(["default"], nonce=nonce, version="1")
        assert client.sent() == {"default": "1"}


def test_reconnecting_client_says_what_it_holds() -> None:
    """The content version, without what made it new to the client."""
    client = Client(default="1")
    subscribed = client.session.ask(["default"], version="1~s-7")
    assert subscribed == (Subscribed(names=frozenset({"default"}), held="1"),)


def test_what_was_sent_is_known_by_content() -> None:
    """Nothing before the first push."""
    client = Client(default="1")
    client.ask("default")
    assert client.session.sent == {}
    client.push()
    assert client.session.sent == {"default": "1"}


def test_acknowledgement_is_followed_by_silence() -> None:
    """ACK: adopted, nothing more to send."""
    client = Client(default="1")
    client.ask("default")
    events = client.ack(client.push())
    assert (events, client.sent()) == ((Adopted(versions={"default": "1"}),), None)


def test_repeated_acknowledgement_is_reported_again() -> None:
    """An agent repeats its ACK to report more; that is no new push."""
    client = Client(default="1")
    client.ask("default")
    push = client.push()
    client.ack(push)
    assert client.ack(push) == (Adopted(versions={"default": "1"}),)
    assert client.sent() is None


def test_one_push_at_a_time() -> None:
    """While an answer is awaited, an update waits; the answer releases it."""
    client = Client(default="1")
    client.ask("default")
    first = client.push()
    client.session.offer(shelf(default="2"))
    assert client.sent() is None
    client.ack(first)
    assert client.sent() == {"default": "2"}


def test_only_the_latest_of_several_updates_is_sent() -> None:
    """What was replaced before it could be sent is never sent."""
    client = settled(default="1")
    client.session.offer(shelf(default="2"))
    client.session.offer(shelf(default="3"))
    assert client.sent() == {"default": "3"}


def test_unchanged_names_are_not_sent_again() -> None:
    """A changed `default` does not bring ROOTCA with it."""
    client = settled(default="1", ROOTCA="1")
    client.session.offer(shelf(default="2", ROOTCA="1"))
    assert client.sent() == {"default": "2"}


def test_added_name_gets_only_that_resource() -> None:
    """Added name: only that resource."""
    client = Client(default="1", ROOTCA="1")
    client.ask("default")
    events = client.ack(client.push(), "default", "ROOTCA")
    assert events == (Adopted(versions={"default": "1"}), Subscribed(names=frozenset({"default", "ROOTCA"})))
    assert client.sent() == {"ROOTCA": "1"}


def test_removed_name_is_answered_with_silence() -> None:
    """Removed name: nothing is sent, now or when it changes."""
    client = Client(default="1", ROOTCA="1")
    client.ask("default", "ROOTCA")
    client.ack(client.push(), "default")
    client.session.offer(shelf(default="1", ROOTCA="2"))
    assert client.sent() is None


def test_empty_list_unsubscribes_from_all() -> None:
    """An empty list is no wildcard."""
    client = Client(default="1")
    client.ask("default")
    push = client.push()
    client.session.ask([], nonce=push.nonce, version=push.version)
    client.session.offer(shelf(default="2"))
    assert (client.sent(), client.session.names) == (None, frozenset())


def test_first_request_without_names_subscribes_to_nothing() -> None:
    """These types have no wildcard."""
    client = Client(default="1")
    assert client.ask() == ()
    assert client.sent() is None


def test_outdated_nonce_voids_the_request() -> None:
    """A stale nonce changes neither the answer nor the names."""
    client = Client(default="1", ROOTCA="1")
    client.ask("default")
    first = client.push()
    client.ack(first)
    client.session.offer(shelf(default="2", ROOTCA="1"))
    client.push()
    events = client.session.ask(["default", "ROOTCA"], nonce=first.nonce, version=first.version)
    assert (events, client.session.names) == ((Stale(),), frozenset({"default"}))


def test_names_that_cross_the_first_push_are_added() -> None:
    """An empty nonce while the first push is on its way adds names; nothing is sent twice."""
    client = Client(default="1", ROOTCA="1")
    client.ask("default")
    first = client.push()
    client.session.ask(["default", "ROOTCA"])
    client.ack(first, "default", "ROOTCA")
    assert client.sent() == {"ROOTCA": "1"}


def test_client_that_starts_over_gets_everything() -> None:
    """An empty nonce after answers means that the client starts over."""
    client = settled(default="1")
    client.session.ask(["default"])
    assert client.sent() == {"default": "1"}


def test_unknown_name_stays_pending_while_others_are_served() -> None:
    """An unknown name is reported once, and served as soon as it exists."""
    client = Client(default="1")
    client.ask("default", "later")
    assert client.session.offer(shelf(default="1")) == (Pending(names=frozenset({"later"})),)
    assert client.session.offer(shelf(default="1")) == ()
    client.ack(client.push())
    client.session.offer(shelf(default="1", later="1"))
    assert client.sent() == {"later": "1"}


def test_vanished_name_is_not_taken_back() -> None:
    """What disappears here stays with the client, and is pending again."""
    client = settled(default="1")
    assert client.session.offer({}) == (Pending(names=frozenset({"default"})),)
    assert client.sent() is None


def test_several_resources_share_one_version() -> None:
    """The version of a push covers all its resources and depends on nothing else."""
    assert first_version(default="1", ROOTCA="1") == first_version(ROOTCA="1", default="1")
    assert first_version(default="1", ROOTCA="1") != first_version(default="1", ROOTCA="2")


def first_version(**versions: str) -> str:
    """The version of a push of all of these."""
    client = Client(**versions)
    client.ask(*versions)
    return client.push().version


def test_single_resource_has_its_own_version() -> None:
    """With one resource, version_info is its content hash."""
    assert first_version(default="1") == "1"


class TestRefusal:
    """After a NACK."""

    def test_last_good_value_follows_once_under_a_new_version(self) -> None:
        """Envoy needs a good value under a version it has not seen (ADR 9)."""
        client = settled(default="1")
        client.session.offer(shelf(default="2"))
        bad = client.push()
        assert client.nack(bad, "1") == (Refused(versions={"default": "2"}, error="bad"),)
        repair = client.push()
        assert repair.resources[0].body == b"default 1"
        assert repair.version not in {"1", "2"}
        assert repair.version.startswith("1~")
        assert client.ack(repair) == (Adopted(versions={"default": "1"}, recovered=True),)
        assert client.sent() is None

    def test_refused_repair_is_followed_by_silence(self) -> None:
        """A NACK never loops."""
        client = settled(default="1")
        client.session.offer(shelf(default="2"))
        client.nack(client.push())
        client.nack(client.push())
        assert client.sent() is None

    def test_nothing_good_to_repair_with_is_silence(self) -> None:
        """If the refused value is the only one ever, it is held."""
        client = Client(default="1")
        client.ask("default")
        client.nack(client.push())
        assert client.sent() is None

    def test_next_update_is_delivered(self) -> None:
        """Held until something changes."""
        client = Client(default="1")
        client.ask("default")
        client.nack(client.push())
        client.session.offer(shelf(default="2"))
        push = client.push()
        assert push.version.startswith("2~")
        assert client.ack(push) == (Adopted(versions={"default": "2"}, recovered=True),)

    def test_update_that_came_meanwhile_makes_the_repair_needless(self) -> None:
        """A third value is better than the last good one."""
        client = settled(default="1")
        client.session.offer(shelf(default="2"))
        bad = client.push()
        client.session.offer(shelf(default="3"))
        client.nack(bad)
        sent = client.sent()
        assert sent is not None
        assert sent["default"].startswith("3~")

    def test_update_before_the_repair_replaces_it(self) -> None:
        """The repair is dropped when it has not gone out yet."""
        client = settled(default="1")
        client.session.offer(shelf(default="2"))
        client.nack(client.push())
        client.session.offer(shelf(default="3"))
        assert client.push().resources[0].body == b"default 3"

    def test_going_back_to_the_good_value_is_sent(self) -> None:
        """A reverted value goes out under a new version, because the client is stuck on the bad one."""
        client = settled(default="1")
        client.session.offer(shelf(default="2"))
        bad = client.push()
        client.session.offer(shelf(default="1"))
        client.nack(bad)
        push = client.push()
        assert (push.resources[0].body, push.version.startswith("1~")) == (b"default 1", True)

    def test_refused_value_that_comes_back_is_tried_again(self) -> None:
        """Bad, good, bad again: each change is a reason to try."""
        client = Client(default="1")
        client.ask("default")
        client.nack(client.push())
        client.session.offer(shelf(default="2"))
        client.ack(client.push())
        client.session.offer(shelf(default="1"))
        assert client.sent() == {"default": "1"}

    def test_second_word_about_a_refused_push_changes_nothing(self) -> None:
        """When its names change, Envoy names the refused nonce again, with its old version and no error."""
        client = Client(default="1", ROOTCA="1")
        client.ask("default")
        bad = client.push()
        client.nack(bad)
        assert client.nack(bad) == ()
        events = client.session.ask(["default", "ROOTCA"], nonce=bad.nonce, version="")
        assert events == (Subscribed(names=frozenset({"default", "ROOTCA"})),)
        assert client.sent() == {"ROOTCA": "1"}

    def test_change_of_mind_is_believed(self) -> None:
        """A refused push that is acknowledged after all, by its version, is adopted."""
        client = settled(default="1")
        client.session.offer(shelf(default="2"))
        bad = client.push()
        client.nack(bad)
        assert client.ack(bad) == (Adopted(versions={"default": "2"}, recovered=True),)
        client.session.forgive()
        assert client.sent() is None

    def test_refusal_after_an_acknowledgement_is_only_reported(self) -> None:
        """An agent whose last Envoy refuses later says so; there is nothing better to send."""
        client = Client(default="1")
        client.ask("default")
        push = client.push()
        client.ack(push)
        assert client.nack(push) == (Refused(versions={"default": "1"}, error="bad"),)
        client.session.forgive()
        assert client.sent() is None

    def test_refused_batch_is_taken_apart(self) -> None:
        """A NACK names no resource: each goes out alone, the good one is served, the bad one is held."""
        client = settled(default="1", ROOTCA="1")
        client.session.offer(shelf(default="2", ROOTCA="2"))
        client.nack(client.push())
        first = client.push()
        assert [r.body for r in first.resources] == [b"default 2"]
        assert first.version.startswith("2~"), "what was in a refused push is new to the client only so"
        client.ack(first)
        second = client.push()
        assert [r.body for r in second.resources] == [b"ROOTCA 2"]
        client.nack(second)
        third = client.push()
        assert [r.body for r in third.resources] == [b"ROOTCA 1"]
        client.ack(third)
        assert client.sent() is None

    def test_refusal_of_a_name_no_longer_wanted_is_only_reported(self) -> None:
        """Nothing is repaired for a name that was dropped."""
        client = settled(default="1")
        client.session.offer(shelf(default="2"))
        bad = client.push()
        client.session.ask([])
        events = client.session.ask([], nonce=bad.nonce, error="bad")
        assert (events, client.sent()) == ((Refused(versions={"default": "2"}, error="bad"),), None)

    def test_acknowledgement_of_a_name_no_longer_wanted_is_only_reported(self) -> None:
        """The client may drop a name while its push is on the way."""
        client = settled(default="1")
        client.session.offer(shelf(default="2"))
        push = client.push()
        client.session.ask([])
        events = client.session.ask([], nonce=push.nonce, version=push.version)
        assert (events, client.sent()) == ((Adopted(versions={"default": "2"}),), None)


class TestSecondChance:
    """Envoy refuses good secrets with a bad one's error."""

    def test_recovery_of_another_subscription_retries_once(self) -> None:
        """A refused value goes out again after another name recovered, under a new version, once."""
        client = settled(default="1")
        client.session.offer(shelf(default="2"))
        client.nack(client.push())
        client.nack(client.push())
        client.session.forgive()
        retry = client.push()
        assert (retry.resources[0].body, retry.version.startswith("2~")) == (b"default 2", True)
        client.nack(retry)
        client.ack(client.push())
        client.session.forgive()
        assert client.sent() is None

    def test_retry_after_the_repair_has_a_new_version(self) -> None:
        """Though the client is well by then."""
        client = settled(default="1")
        client.session.offer(shelf(default="2"))
        client.nack(client.push())
        client.ack(client.push())
        client.session.forgive()
        assert client.push().version.startswith("2~")

    def test_recovery_during_the_retry_gives_no_third_chance(self) -> None:
        """Each refused content is tried twice at most."""
        client = settled(default="1")
        client.session.offer(shelf(default="2"))
        client.nack(client.push())
        client.ack(client.push())
        client.session.forgive()
        retry = client.push()
        client.session.forgive()
        client.nack(retry)
        assert client.push().resources[0].body == b"default 1"

    def test_recovery_during_the_flight_counts(self) -> None:
        """The NACK may arrive after the news of the recovery."""
        client = settled(default="1")
        client.session.offer(shelf(default="2"))
        bad = client.push()
        client.session.forgive()
        client.nack(bad)
        retry = client.push()
        assert retry.resources[0].body == b"default 2"
        assert client.ack(retry) == (Adopted(versions={"default": "2"}, recovered=False),)
        assert client.sent() is None

    def test_repair_goes_before_everything_else(self) -> None:
        """Until it has a good value again, the client refuses the others."""
        client = settled(default="1", ROOTCA="1")
        client.session.offer(shelf(default="1", ROOTCA="bad"))
        bad = client.push()
        client.session.offer(shelf(default="2", ROOTCA="bad"))
        client.nack(bad)
        assert client.push().resources[0].body == b"ROOTCA 1"

    def test_recovery_within_the_session_counts(self) -> None:
        """Two names of one stream: the recovery of one retries the other."""
        client = Client(ROOTCA="bad")
        client.ask("default", "ROOTCA")
        client.nack(client.push())
        client.session.offer(shelf(default="2", ROOTCA="bad"))
        client.nack(client.push())  # on account of ROOTCA
        client.session.offer(shelf(default="2", ROOTCA="3"))
        root = client.push()
        assert client.ack(root) == (Adopted(versions={"ROOTCA": "3"}, recovered=True),)
        assert client.push().resources[0].body == b"default 2"

    def test_forgiveness_without_a_refusal_sends_nothing(self) -> None:
        """There is nothing to retry."""
        client = settled(default="1")
        client.session.forgive()
        assert client.sent() is None

    def test_forgiveness_before_anything_was_sent(self) -> None:
        """A fresh session has nothing to forgive."""
        client = Client(default="1")
        client.session.forgive()
        assert client.sent() is None


class TestSilence:
    """A client that never answers."""

    def test_overdue_answer_is_reported_once(self) -> None:
        """After the timeout, once."""
        client = Client(default="1")
        client.ask("default")
        client.push()
        assert client.session.deadline == TIMEOUT
        assert client.session.tick(TIMEOUT - 0.1) == ()
        assert client.session.tick(TIMEOUT) == (Overdue(versions={"default": "1"}),)
        assert client.session.tick(TIMEOUT + 1) == ()
        assert client.session.deadline is None

    def test_next_update_goes_past_it(self) -> None:
        """The next update is sent all the same; what it has already is not sent twice."""
        client = Client(default="1")
        client.ask("default")
        client.push()
        client.session.offer(shelf(default="2"))
        client.session.tick(TIMEOUT)
        assert client.sent() == {"default": "2"}
        client.session.tick(3 * TIMEOUT)
        assert client.sent() is None

    def test_what_an_answer_came_too_late_for_goes_out_again(self) -> None:
        """A client that answers again gets again what its void answer was about; a silent one gets only news."""
        client = Client(default="1", ROOTCA="bad")
        client.ask("default", "ROOTCA")
        late = client.push()
        client.session.tick(TIMEOUT)
        client.session.offer(shelf(default="1", ROOTCA="2"))
        news = client.push()
        assert [resource.name for resource in news.resources] == ["ROOTCA"]
        assert client.nack(late) == (Stale(),)
        client.ack(news)
        assert client.sent() == {"default": "1"}

    def test_late_answer_still_counts(self) -> None:
        """An answer to the last push counts however late."""
        client = Client(default="1")
        client.ask("default")
        push = client.push()
        client.session.tick(TIMEOUT)
        assert client.ack(push) == (Adopted(versions={"default": "1"}),)

    def test_answer_to_a_replaced_push_is_stale(self) -> None:
        """Once another push went past, the old nonce means nothing."""
        client = Client(default="1")
        client.ask("default")
        first = client.push()
        client.session.tick(TIMEOUT)
        client.session.offer(shelf(default="2"))
        client.push()
        assert client.ack(first) == (Stale(),)

    def test_nothing_sent_nothing_overdue(self) -> None:
        """Time alone reports nothing."""
        assert Client(default="1").session.tick(1e9) == ()


class TestDelta:
    """The incremental variant."""

    def test_subscription_is_served_and_acknowledged_by_nonce(self) -> None:
        """An ACK carries only the nonce."""
        client = Client(default="1", ROOTCA="1")
        client.session.amend(["default"], [])
        push = client.push()
        assert client.session.amend([], [], nonce=push.nonce) == (Adopted(versions={"default": "1"}),)
        assert client.sent() is None

    def test_first_request_without_names_subscribes_to_nothing(self) -> None:
        """No wildcard in delta either."""
        client = Client(default="1")
        assert client.session.amend([], []) == ()
        assert client.sent() is None

    def test_added_name_gets_only_that_resource(self) -> None:
        """Others are not repeated."""
        client = Client(default="1", ROOTCA="1")
        client.session.amend(["default"], [])
        client.session.amend(["ROOTCA"], [], nonce=client.push().nonce)
        assert client.sent() == {"ROOTCA": "1"}

    def test_unsubscribed_name_is_silent(self) -> None:
        """Also when it changes."""
        client = Client(default="1")
        client.session.amend(["default"], [])
        client.session.amend([], ["default", "never"], nonce=client.push().nonce)
        client.session.offer(shelf(default="2"))
        assert client.sent() is None

    def test_name_subscribed_to_again_is_sent_again(self) -> None:
        """As DeltaDiscoveryRequest.resource_names_subscribe asks."""
        client = Client(default="1")
        client.session.amend(["default"], [])
        client.session.amend([], [], nonce=client.push().nonce)
        client.session.amend(["default"], [])
        assert client.sent() == {"default": "1"}

    def test_outdated_nonce_voids_only_the_answer(self) -> None:
        """A delta client does not repeat its changes, so they count."""
        client = Client(default="1", ROOTCA="1")
        client.session.amend(["default"], [])
        events = client.session.amend(["ROOTCA"], [], nonce="old")
        assert events == (Stale(), Subscribed(names=frozenset({"default", "ROOTCA"})))

    def test_refusal_is_repaired(self) -> None:
        """As in the other variant."""
        client = Client(default="1")
        client.session.amend(["default"], [])
        client.session.amend([], [], nonce=client.push().nonce)
        client.session.offer(shelf(default="2"))
        client.session.amend([], [], nonce=client.push().nonce, error="bad")
        assert client.push().resources[0].body == b"default 1"

    def test_too_many_names_in_total_are_refused(self) -> None:
        """Small requests do not add up past the limit."""
        client = Client()
        client.session.amend([f"n{i}" for i in range(MAX_NAMES)], [])
        with pytest.raises(BadRequest) as refusal:
            client.session.amend(["one-more"], [])
        assert refusal.value.reason == "too_many_names"
        client.session.amend(["one-more"], ["n0"])
        assert len(client.session.names) == MAX_NAMES


def test_too_many_names_are_refused() -> None:
    """At most MAX_NAMES, duplicates counted once."""
    client = Client()
    client.ask(*["same"] * (MAX_NAMES + 1))
    with pytest.raises(BadRequest) as refusal:
        client.ask(*[f"n{i}" for i in range(MAX_NAMES + 1)])
    assert refusal.value.reason == "too_many_names"


def test_body_is_not_in_the_repr() -> None:
    """A body may hold a private key."""
    assert "body" not in repr(res("default", "1"))

"""The xDS session's table, row by row: what is asked for, sent and acknowledged."""

from __future__ import annotations

import pytest

from meshca.discovery.event import Adopted, Pending, Stale, Subscribed
from meshca.discovery.session import MAX_NAMES
from meshca.errors import BadRequest
from tests.discovery.session_client import Client, res, settled, shelf


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

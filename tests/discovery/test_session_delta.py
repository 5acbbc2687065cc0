"""The rows of the xDS session's table for the incremental variant."""

from __future__ import annotations

import pytest

from meshca.discovery.event import Adopted, Stale, Subscribed
from meshca.discovery.session import MAX_NAMES
from meshca.errors import BadRequest
from tests.discovery.session_client import Client, shelf


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

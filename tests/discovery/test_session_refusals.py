"""The rows of the xDS session's table that follow a refusal."""

from __future__ import annotations

from meshca.discovery.event import Adopted, Refused, Resource, Subscribed
from meshca.discovery.session import Session
from tests.discovery.session_client import TIMEOUT, Client, settled, shelf


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


def secret(name: str, version: str) -> Resource:
    """A resource that can be written anew."""
    body = f"{name} {version}"
    return Resource(name=name, version=version, body=body.encode(), anew=lambda mark: f"{body} {mark}".encode())


class TestInsistence:
    """What can be written anew is tried again after pauses that grow: a refusal may have passed."""

    def refusing(self) -> Client:
        """A client that has acknowledged 1 and refused 2, and has 1 again."""
        client = Client()
        client.session.offer({"ROOTCA": secret("ROOTCA", "1")})
        client.ask("ROOTCA")
        client.ack(client.push())
        client.session.offer({"ROOTCA": secret("ROOTCA", "2")})
        client.nack(client.push())
        client.ack(client.push())
        client.session.tick(client.now)
        return client

    def wait(self, client: Client) -> float:
        """How long nothing is sent."""
        begun = client.now
        while (push := client.session.next_push(client.now)) is None:
            client.now += 0.5
            client.session.tick(client.now)
        assert push.resources[0].body.startswith(b"ROOTCA 2 ")
        client.nack(push)
        client.ack(client.push())
        client.session.tick(client.now)
        return client.now - begun

    def test_each_pause_is_twice_as_long(self) -> None:
        """From two seconds to two minutes."""
        client = self.refusing()
        assert [self.wait(client) for _ in range(9)] == [2, 4, 8, 16, 32, 64, 120, 120, 120]

    def test_what_is_good_at_last_is_adopted(self) -> None:
        """Under a version that the client has not seen, and then there is silence."""
        client = self.refusing()
        self.wait(client)
        client.now += 4
        client.session.tick(client.now)
        push = client.push()
        assert push.version.startswith("2~")
        assert client.ack(push) == (Adopted(versions={"ROOTCA": "2"}),)
        client.session.tick(client.now + 1000)
        assert client.sent() is None

    def test_a_new_content_begins_with_the_first_pause(self) -> None:
        """Whatever happened to the one before."""
        client = self.refusing()
        self.wait(client)
        client.session.offer({"ROOTCA": secret("ROOTCA", "2b")})
        client.ack(client.push())
        client.session.offer({"ROOTCA": secret("ROOTCA", "2 again")})
        client.nack(client.push())
        client.ack(client.push())
        client.session.tick(client.now)
        assert self.wait(client) == 2

    def test_nothing_good_is_needed(self) -> None:
        """For other bytes are looked at, though nothing else came between."""
        client = Client()
        client.session.offer({"ROOTCA": secret("ROOTCA", "1")})
        client.ask("ROOTCA")
        first = client.push()
        client.nack(first)
        client.session.tick(0)
        client.session.tick(2)
        assert client.push().resources[0].body != first.resources[0].body

    def test_what_cannot_be_written_anew_is_held(self) -> None:
        """Envoy would acknowledge it unseen."""
        client = Client(ROOTCA="1")
        client.ask("ROOTCA")
        client.nack(client.push())
        for now in (0, 1000):
            client.session.tick(now)
        assert client.sent() is None


def test_no_two_pushes_have_the_same_bytes() -> None:
    """Not even of two streams: a client that comes back may have refused what it gets."""
    pushed: set[bytes] = set()
    for stream in ("s", "t"):
        session = Session(stream_id=stream, answer_timeout=TIMEOUT)
        session.offer({"ROOTCA": secret("ROOTCA", "1")})
        session.ask(["ROOTCA"])
        push = session.next_push(0)
        assert push is not None
        pushed.add(push.resources[0].body)
        assert push.version == "1"
    assert len(pushed) == 2

"""The rows of the xDS session's table for a client that does not answer."""

from __future__ import annotations

from meshca.discovery.event import Adopted, Overdue, Stale
from tests.discovery.session_client import TIMEOUT, Client, shelf


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

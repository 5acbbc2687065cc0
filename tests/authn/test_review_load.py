"""What proving callers costs an API server, however many of them come at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from meshca import metrics
from meshca.authn import review_load
from meshca.authn.breaker import FAILURES
from meshca.authn.cluster import Review
from meshca.authn.review_load import LONGEST_WAIT, ReviewLoad
from meshca.config.kubernetes import TokenReviewConfig
from meshca.errors import Unavailable
from meshca.secret import Secret
from tests.fakes.clock import FakeClock
from tests.fakes.cluster import FakeCluster
from tests.fakes.jitter import Jitter
from tests.fakes.logs import captured_logs

DOWN = Unavailable("kube_unreachable", "home: the API server cannot be reached")
HOUR = timedelta(hours=1)


class Rig:
    """The bounded reviews of a cluster."""

    def __init__(self, **limits: Any) -> None:
        self.clock = FakeClock()
        self.cluster = FakeCluster(self.clock)
        self.reviewer = self.cluster.reviewer
        config = TokenReviewConfig(**limits)
        self.load = ReviewLoad("home", self.reviewer, config, self.clock, rng=Jitter(1))

    async def ask(self, token: Secret[str], until: timedelta = HOUR) -> Review:
        """Review a token that ends then."""
        return await self.load.review(token, self.clock.now() + until)

    async def reasons(self, tokens: Sequence[Secret[str]]) -> list[str]:
        """What comes of asking about all of these at once: empty for an answer."""
        found = await asyncio.gather(*map(self.ask, tokens), return_exceptions=True)
        return [_reason(each) for each in found]

    def hold(self) -> None:
        """Let the API server be slow."""
        self.reviewer.held = asyncio.Event()

    def release(self) -> None:
        """Let it answer."""
        assert self.reviewer.held is not None
        self.reviewer.held.set()


def _reason(found: Review | BaseException) -> str:
    if isinstance(found, Review):
        return ""
    assert isinstance(found, Unavailable)
    return found.reason


async def settled() -> None:
    """Everything that can run has run."""
    for _ in range(20):
        await asyncio.sleep(0)


def counted(result: str) -> float:
    """How often that was counted so far."""
    found: float = metrics.token_reviews.labels("home", result)._value.get()
    return found


class TestEqualTokens:
    """A token is asked about once while that is enough."""

    async def test_at_once(self) -> None:
        """Fifty callers with one token are one review."""
        rig = Rig()
        token = rig.cluster.token()
        before = counted("shared")
        answers = await asyncio.gather(*(rig.ask(token) for _ in range(50)))
        assert rig.reviewer.asked == 1
        assert set(map(id, answers)) == {id(answers[0])}
        assert counted("shared") - before == 49

    async def test_one_after_the_other(self) -> None:
        """A good answer is used again for so long, and no longer."""
        rig = Rig(cache="10s")
        token = rig.cluster.token()
        before = counted("remembered")
        for seconds, asked in ((0, 1), (9, 1), (0.9, 1), (0.2, 2), (0, 2)):
            rig.clock.move(seconds)
            assert (await rig.ask(token)).authenticated
            assert rig.reviewer.asked == asked
        assert counted("remembered") - before == 3

    async def test_never_beyond_the_end_of_the_token(self) -> None:
        """A token that ends sooner is asked about again then."""
        rig = Rig(cache="10s")
        token = rig.cluster.token()
        for seconds, asked in ((0, 1), (3, 1), (1, 2)):
            rig.clock.move(seconds)
            await rig.load.review(token, FakeClock().now() + timedelta(seconds=4))
            assert rig.reviewer.asked == asked

    async def test_cache_of_nothing(self) -> None:
        """Every use is a review."""
        rig = Rig(cache="0s")
        token = rig.cluster.token()
        for asked in (1, 2):
            await rig.ask(token)
            assert rig.reviewer.asked == asked

    async def test_a_refusal_is_not_remembered(self) -> None:
        """What is refused now may be good in a second."""
        rig = Rig()
        token = rig.cluster.token()
        rig.reviewer.spoil = lambda review: replace(review, authenticated=False)
        assert not (await rig.ask(token)).authenticated
        rig.reviewer.spoil = lambda review: review
        assert (await rig.ask(token)).authenticated

    async def test_a_failure_is_not_remembered(self) -> None:
        """All who waited are told, the next one asks again."""
        rig = Rig()
        token = rig.cluster.token()
        rig.reviewer.down = DOWN
        assert await rig.reasons([token] * 3) == ["kube_unreachable"] * 3
        rig.reviewer.down = None
        assert (await rig.ask(token)).authenticated
        assert rig.reviewer.asked == 2

    async def test_memory_is_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The oldest answers go first, and old ones at the next."""
        monkeypatch.setattr(review_load, "REMEMBERED", 10)
        rig = Rig(cache="10s")
        tokens = rig.cluster.tokens(25)
        for token in tokens:
            await rig.ask(token)
        assert len(rig.load._kept) == 10
        await rig.ask(tokens[-1])
        assert rig.reviewer.asked == 25
        rig.clock.move(11)
        await rig.ask(tokens[0])
        assert len(rig.load._kept) == 1

    async def test_no_token_is_kept(self) -> None:
        """Only its hash."""
        rig = Rig()
        token = rig.cluster.token()
        await rig.ask(token)
        assert token.reveal() not in repr(rig.load._kept)


class TestStorm:
    """Many callers at once."""

    async def test_a_thousand_tokens(self) -> None:
        """None fails, and there are never more reviews at once than configured."""
        rig = Rig(concurrency=16)
        tokens = rig.cluster.tokens(1000)
        assert await rig.reasons(tokens) == [""] * 1000
        assert (rig.reviewer.asked, rig.reviewer.most) == (1000, 16)

    async def test_first_come_first_served(self) -> None:
        """Nobody is overtaken for long."""
        rig = Rig(concurrency=1)
        order: list[int] = []

        async def ask(number: int, token: Secret[str]) -> None:
            await rig.ask(token)
            order.append(number)

        await asyncio.gather(*(ask(number, token) for number, token in enumerate(rig.cluster.tokens(20))))
        assert order == list(range(20))

    async def test_the_queue_is_bounded(self) -> None:
        """Who finds it full may try again."""
        rig = Rig(concurrency=2, queue=3)
        rig.hold()
        before = counted("turned_away")
        asking = asyncio.create_task(rig.reasons(rig.cluster.tokens(7)))
        await settled()
        rig.release()
        assert await asking == ["", "", "", "", "", "review_queue", "review_queue"]
        assert counted("turned_away") - before == 2

    async def test_no_queue_at_all(self) -> None:
        """As many callers as places."""
        rig = Rig(concurrency=2, queue=0)
        rig.hold()
        asking = asyncio.create_task(rig.reasons(rig.cluster.tokens(3)))
        await settled()
        rig.release()
        assert await asking == ["", "", "review_queue"]

    async def test_an_old_wait_is_for_nothing(self) -> None:
        """Who has waited too long is not asked about: its caller has given up."""
        rig = Rig(concurrency=1)
        rig.hold()
        asking = asyncio.create_task(rig.reasons(rig.cluster.tokens(3)))
        await settled()
        rig.clock.move(LONGEST_WAIT + 1)
        rig.release()
        assert await asking == ["", "review_queue", "review_queue"]
        assert rig.reviewer.asked == 1
        assert await rig.reasons(rig.cluster.tokens(1)) == [""]


class TestCallersWhoLeave:
    """A caller's own deadline ends its waiting."""

    async def test_the_others_still_get_their_answer(self) -> None:
        """Also when the one who began it leaves."""
        rig = Rig()
        rig.hold()
        token = rig.cluster.token()
        first, second = (asyncio.create_task(rig.ask(token)) for _ in range(2))
        await settled()
        first.cancel()
        await settled()
        rig.release()
        assert (await second).authenticated
        assert first.cancelled()
        assert rig.reviewer.asked == 1

    async def test_the_last_one_takes_the_work_along(self) -> None:
        """Nothing is asked for nobody, and the place is free again."""
        rig = Rig(concurrency=1)
        rig.hold()
        tokens = rig.cluster.tokens(2)
        asking = [asyncio.create_task(rig.ask(token)) for token in tokens]
        await settled()
        for task in asking:
            task.cancel()
        await settled()
        assert (rig.reviewer.asked, rig.reviewer.under_way) == (1, 0)
        assert (rig.load._flights, rig.load._waiting) == ({}, 0)
        rig.release()
        assert (await rig.ask(tokens[0])).authenticated

    async def test_who_comes_right_then_begins_anew(self) -> None:
        """A question that is being given up is not joined."""
        rig = Rig()
        rig.hold()
        token = rig.cluster.token()
        first = asyncio.create_task(rig.ask(token))
        await settled()
        first.cancel()
        await asyncio.sleep(0)
        second = asyncio.create_task(rig.ask(token))
        await settled()
        rig.release()
        assert (await second).authenticated


class TestOutage:
    """An API server that does not answer is left alone."""

    async def test_nothing_is_asked_meanwhile(self) -> None:
        """After some failures callers are told at once, those who wait already included."""
        rig = Rig(concurrency=1)
        rig.reviewer.down = DOWN
        with captured_logs():
            reasons = await rig.reasons(rig.cluster.tokens(20))
        assert reasons == ["kube_unreachable"] * FAILURES + ["review_paused"] * (20 - FAILURES)
        assert rig.reviewer.asked == FAILURES

    async def test_it_is_asked_again(self) -> None:
        """One review finds out, then all go through."""
        rig = Rig(concurrency=1)
        rig.reviewer.down = DOWN
        tokens = rig.cluster.tokens(20)
        with captured_logs():
            await rig.reasons(tokens)
            rig.reviewer.down = None
            assert await rig.reasons(tokens[:1]) == ["review_paused"]
            rig.clock.move(3)
            assert await rig.reasons(tokens[:1]) == [""]
        assert await rig.reasons(tokens) == [""] * 20

    async def test_what_is_remembered_still_holds(self) -> None:
        """For its seconds."""
        rig = Rig()
        token = rig.cluster.token()
        await rig.ask(token)
        rig.reviewer.down = DOWN
        with captured_logs():
            await rig.reasons(rig.cluster.tokens(20))
        assert (await rig.ask(token)).authenticated

    async def test_refused_tokens_are_no_outage(self) -> None:
        """The API server has answered."""
        rig = Rig()
        rig.reviewer.spoil = lambda _: Review(authenticated=False)
        before = counted("refused")
        assert await rig.reasons(rig.cluster.tokens(20)) == [""] * 20
        assert counted("refused") - before == 20


async def test_nothing_is_in_flight_afterwards() -> None:
    """The gauge goes up and down."""
    rig = Rig()
    gauge = metrics.token_reviews_in_flight.labels("home")._value
    rig.hold()
    asking = asyncio.create_task(rig.ask(rig.cluster.token()))
    await settled()
    assert gauge.get() == 1
    rig.release()
    await asking
    assert gauge.get() == 0

"""When an API server is not asked any more, and when it is asked again."""

from __future__ import annotations

import asyncio

import pytest

from meshca import metrics
from meshca.authn.breaker import FAILURES, Breaker
from meshca.errors import Unavailable
from tests.fakes.clock import FakeClock
from tests.fakes.jitter import Jitter
from tests.fakes.logs import captured_logs

DOWN = Unavailable("kube_unreachable", "home: the API server cannot be reached")


class Rig:
    """A breaker whose pauses are as long as they can be: 2, 4, 8, 16, 30, 30… seconds."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.breaker = Breaker("home", self.clock, Jitter(1))

    def fail(self, times: int = 1) -> None:
        """Calls that fail, of those that go through."""
        for _ in range(times):
            with pytest.raises(Unavailable), self.breaker.call():
                raise DOWN

    def succeed(self) -> None:
        """A call that goes well."""
        with self.breaker.call():
            pass

    @property
    def goes_through(self) -> bool:
        """Whether a call would be made now."""
        try:
            self.breaker.check()
        except Unavailable:
            return False
        return True


def test_a_few_failures_change_nothing() -> None:
    """One less than the limit, and a success between two lots, leave it closed."""
    rig = Rig()
    for _ in range(3):
        rig.fail(FAILURES - 1)
        rig.succeed()
    assert rig.goes_through


def test_it_opens_after_failures_in_a_row() -> None:
    """Nothing is asked then, and callers are told why and for how long."""
    rig = Rig()
    with captured_logs() as logs:
        rig.fail(FAILURES)
    with pytest.raises(Unavailable) as caught, rig.breaker.call():
        pytest.fail("asked")
    assert caught.value.reason == "review_paused"
    assert caught.value.detail == (
        f"home: asked again in 2.0 s after 5 failed reviews in a row; the last: {DOWN.detail}"
    )
    assert [(event["event"], event["log_level"], event["cluster"]) for event in logs] == [
        ("authn.reviews_paused", "error", "home")
    ]
    assert metrics.token_reviews_paused.labels("home")._value.get() == 1


def test_a_good_trial_closes_it() -> None:
    """After the pause one call, then all of them."""
    rig = Rig()
    rig.fail(FAILURES)
    rig.clock.move(1.9)
    assert not rig.goes_through
    rig.clock.move(0.2)
    with captured_logs() as logs:
        rig.succeed()
    assert [event["event"] for event in logs] == ["authn.reviews_resumed"]
    assert metrics.token_reviews_paused.labels("home")._value.get() == 0
    rig.fail(FAILURES - 1)
    assert rig.goes_through


def test_failed_trials_make_longer_pauses() -> None:
    """Up to a ceiling; logged once."""
    rig = Rig()
    pauses = []
    with captured_logs() as logs:
        rig.fail(FAILURES)
        for _ in range(6):
            pause = 0
            while not rig.goes_through:
                rig.clock.move(1)
                pause += 1
            pauses.append(pause)
            rig.fail()
    assert pauses == [2, 4, 8, 16, 30, 30]
    assert len(logs) == 1


def test_there_is_one_trial_at_a_time() -> None:
    """While it is under way the others wait for their next try."""
    rig = Rig()
    rig.fail(FAILURES)
    rig.clock.move(3)
    with rig.breaker.call():
        assert not rig.goes_through
    assert rig.goes_through


def test_a_trial_that_was_given_up_tells_nothing() -> None:
    """The next call is the trial."""
    rig = Rig()
    rig.fail(FAILURES)
    rig.clock.move(3)
    with pytest.raises(asyncio.CancelledError), rig.breaker.call():
        raise asyncio.CancelledError
    assert rig.goes_through
    rig.fail()
    assert not rig.goes_through


def test_failures_that_were_under_way_are_no_news() -> None:
    """Sixteen calls that time out together are one outage: the pause stays the first one."""
    rig = Rig()

    def late() -> None:
        with rig.breaker.call():
            rig.fail(FAILURES)
            raise DOWN

    with pytest.raises(Unavailable):
        late()
    rig.clock.move(2)
    assert rig.goes_through


def test_a_success_that_was_under_way_closes_it() -> None:
    """The API server has answered."""
    rig = Rig()
    with rig.breaker.call():
        rig.fail(FAILURES)
        assert not rig.goes_through
    assert rig.goes_through

"""How long what failed is not asked again."""

from __future__ import annotations

import pytest

from meshca.errors import Unavailable
from meshca.upstream.vault.faults import Fault, Throttled, failure
from meshca.upstream.vault.patience import OUTAGE, REFUSAL, Patience
from tests.fakes.clock import FakeClock
from tests.fakes.jitter import Jitter

LONGEST = Jitter(1.0)
SEALED, FORBIDDEN = failure(Fault.SEALED), failure(Fault.FORBIDDEN)


def after(*errors: Unavailable) -> float:
    """Seconds that are waited at most when these came one after the other."""
    patience = Patience(FakeClock(), LONGEST)
    for error in errors:
        patience.failed(error)
    return patience.left


def test_nothing_failed() -> None:
    """What has not failed may be asked."""
    patience = Patience(FakeClock(), LONGEST)
    patience.check()
    assert patience.left == 0


def test_the_same_again() -> None:
    """What failed just now is refused with the same reason and detail, until the pause is over."""
    clock = FakeClock()
    patience = Patience(clock, LONGEST)
    patience.failed(FORBIDDEN)
    with pytest.raises(Unavailable) as refused:
        patience.check()
    assert str(refused.value) == str(FORBIDDEN)
    clock.move(patience.left)
    patience.check()


def test_success() -> None:
    """After a success nothing is held back, and the next failure is a first one."""
    patience = Patience(FakeClock(), LONGEST)
    for _ in range(3):
        patience.failed(FORBIDDEN)
    patience.succeeded()
    patience.check()
    patience.failed(FORBIDDEN)
    assert patience.left == after(FORBIDDEN)


@pytest.mark.parametrize(
    "fault", [Fault.SEALED, Fault.UNREACHABLE, Fault.TIMEOUT, Fault.LOGIN_UNREADABLE, Fault.REDIRECTED]
)
def test_outage(fault: Fault) -> None:
    """However long it lasts it is looked at again within seconds.

    Also while a file of ours is missing, and while a standby sends us to an active node that is gone.
    """
    assert after(*[failure(fault)] * 50) == OUTAGE.ceiling


@pytest.mark.parametrize("fault", [Fault.FORBIDDEN, Fault.LOGIN_REFUSED, Fault.RATE_LIMITED])
def test_refusal(fault: Fault) -> None:
    """A refusal is asked about less and less often."""
    assert after(failure(fault)) < after(failure(fault), failure(fault)) < after(*[failure(fault)] * 50)
    assert after(*[failure(fault)] * 50) == REFUSAL.ceiling


def test_another_reason() -> None:
    """An outage before it makes no refusal longer."""
    assert after(*[SEALED] * 50, FORBIDDEN) == after(FORBIDDEN)


def test_not_of_vault() -> None:
    """A failure that is none of the server's is a refusal."""
    assert after(*[Unavailable("ca_folder", "the disk is full")] * 50) == REFUSAL.ceiling


def test_retry_after() -> None:
    """Where the server says how long, no sooner."""
    assert after(Throttled(failure(Fault.RATE_LIMITED), 120.0)) == 120.0


def test_rarely() -> None:
    """A fault that passes may still be one to be asked about rarely, where asking does harm; others are not."""
    patience = Patience(FakeClock(), LONGEST, rarely={Fault.TIMEOUT})
    for _ in range(50):
        patience.failed(failure(Fault.TIMEOUT))
    assert patience.left == REFUSAL.ceiling
    patience.failed(SEALED)
    assert patience.left == after(SEALED)


def test_anew() -> None:
    """Another thing is asked at once, and its failure is a first one."""
    patience = Patience(FakeClock(), LONGEST)
    for _ in range(3):
        patience.failed(FORBIDDEN)
    patience.anew()
    patience.check()
    patience.failed(FORBIDDEN)
    assert patience.left == after(FORBIDDEN)


def test_anew_while_the_server_asks_to_wait() -> None:
    """What the server asked for holds for another thing as well."""
    patience = Patience(FakeClock(), LONGEST)
    patience.failed(Throttled(failure(Fault.RATE_LIMITED), 120.0))
    patience.anew()
    assert patience.left == 120.0

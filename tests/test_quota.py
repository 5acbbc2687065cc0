"""Tests of meshca.quota."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshca.errors import BadRequest, Exhausted
from meshca.identity.spiffe_id import SpiffeId, TrustDomain
from meshca.quota import PER_ASKER, Quota, Rate
from tests.fakes.callers import caller

TD = TrustDomain("cluster.local")
WEB = SpiffeId(TD, "/ns/shop/sa/web")
PAYMENTS = SpiffeId(TD, "/ns/shop/sa/payments")
INTRUDER = SpiffeId(TD, "/ns/other/sa/intruder")
PLENTY = Rate(per_second=1000, burst=1000)


def quota(*, identity: Rate = PLENTY, namespace: Rate = PLENTY, tracked: int = 100) -> Quota:
    """A quota with plenty of everything that is not named."""
    return Quota(per_identity=identity, per_namespace=namespace, tracked=tracked)


def taken(subject: Quota, identity: SpiffeId, now: float = 0.0, *, renewal: bool = False) -> int:
    """How many requests pass at one instant."""
    count = 0
    while count < 10_000:
        try:
            subject.take(identity, now, renewal=renewal)
        except Exhausted:
            return count
        count += 1
    return count


def refusal(subject: Quota, identity: SpiffeId, now: float = 0.0, *, renewal: bool = False) -> Exhausted:
    """The error of the next request."""
    with pytest.raises(Exhausted) as caught:
        subject.take(identity, now, renewal=renewal)
    return caught.value


def test_a_burst_passes_at_once() -> None:
    """A full bucket lets its burst through, less the share kept for renewals."""
    assert taken(quota(identity=Rate(per_second=1, burst=10)), WEB) == 8


def test_issuers_with_buckets_of_their_own() -> None:
    """What one issuer's callers use up, of an identity or a namespace, another's still have."""
    subject = quota(identity=Rate(per_second=1, burst=1), namespace=Rate(per_second=1, burst=1))
    subject.take(WEB, 0.0, issuer="west")
    with pytest.raises(Exhausted):
        subject.take(WEB, 0.0, issuer="west")
    subject.take(WEB, 0.0, issuer="home")
    assert taken(subject, WEB) == 1


@pytest.mark.parametrize("other", [{"issuer": "west"}, {"pod": None}, {"name": "api"}], ids=str)
def test_askers(other: dict[str, Any]) -> None:
    """One that asks for others has ten times a burst, whole, and takes nothing from another pod or cluster."""
    subject = quota(identity=Rate(per_second=1, burst=1))
    for _ in range(PER_ASKER):
        subject.ask(caller(), 0.0)
    with pytest.raises(Exhausted) as caught:
        subject.ask(caller(), 0.0)
    assert (caught.value.reason, caught.value.retry_after) == ("node_proxy_quota", 1 / PER_ASKER)
    subject.ask(caller(), 1 / PER_ASKER)
    subject.ask(caller(**other), 0.0)


def test_renewals_dip_into_the_reserve() -> None:
    """Where first issues are refused, renewals still pass."""
    subject = quota(identity=Rate(per_second=1, burst=10))
    assert taken(subject, WEB) == 8
    assert taken(subject, WEB, renewal=True) == 2


def test_renewals_end_too() -> None:
    """Renewals are limited as well, to the whole burst."""
    assert taken(quota(identity=Rate(per_second=1, burst=10)), WEB, renewal=True) == 10


def test_the_namespace_keeps_a_reserve_for_renewals() -> None:
    """Also a namespace that starts many workloads leaves room for those that run."""
    subject = quota(namespace=Rate(per_second=1, burst=10))
    assert taken(subject, WEB) == 8
    assert taken(subject, PAYMENTS) == 0
    assert taken(subject, PAYMENTS, renewal=True) == 2


def test_a_burst_of_one_still_issues() -> None:
    """The reserve never makes a first issue impossible."""
    assert taken(quota(identity=Rate(per_second=1, burst=1)), WEB) == 1


def test_time_fills_the_bucket() -> None:
    """Tokens come back at the rate."""
    subject = quota(identity=Rate(per_second=2, burst=10))
    assert taken(subject, WEB) == 8
    assert taken(subject, WEB, now=1.5) == 3


def test_a_bucket_never_holds_more_than_its_burst() -> None:
    """A long pause saves up nothing."""
    subject = quota(identity=Rate(per_second=2, burst=10))
    assert taken(subject, WEB) == 8
    assert taken(subject, WEB, now=1e6) == 8


def test_a_clock_that_goes_back_adds_nothing() -> None:
    """An earlier time is as good as no time passed."""
    subject = quota(identity=Rate(per_second=2, burst=10))
    assert taken(subject, WEB, now=100) == 8
    assert taken(subject, WEB, now=50) == 0


def test_an_identity_over_its_rate_is_refused() -> None:
    """The reason names the identity's bucket."""
    subject = quota(identity=Rate(per_second=1, burst=1))
    subject.take(WEB, 0)
    error = refusal(subject, WEB)
    assert (error.reason, error.retry_after) == ("identity_quota", 1.0)
    assert error.detail == f"{WEB} is over 1 requests a second with a burst of 1"


def test_a_namespace_over_its_rate_is_refused() -> None:
    """The reason names the namespace's bucket."""
    subject = quota(namespace=Rate(per_second=0.5, burst=1))
    subject.take(WEB, 0)
    error = refusal(subject, PAYMENTS)
    assert (error.reason, error.retry_after) == ("namespace_quota", 2.0)
    assert error.detail == "shop is over 0.5 requests a second with a burst of 1"


def test_the_retry_hint_covers_both_buckets() -> None:
    """After the hint neither bucket refuses."""
    subject = quota(identity=Rate(per_second=1, burst=1), namespace=Rate(per_second=0.1, burst=1))
    subject.take(WEB, 0)
    error = refusal(subject, WEB)
    assert (error.reason, error.retry_after) == ("identity_quota", 10.0)
    subject.take(WEB, error.retry_after)


def test_namespaces_do_not_share() -> None:
    """One namespace at its limit leaves the others alone."""
    subject = quota(namespace=Rate(per_second=1, burst=1))
    subject.take(WEB, 0)
    subject.take(INTRUDER, 0)


def test_a_refusal_charges_neither_bucket() -> None:
    """A refused identity does not use up its namespace's tokens."""
    subject = quota(identity=Rate(per_second=1, burst=1), namespace=Rate(per_second=1, burst=3))
    subject.take(WEB, 0)
    for _ in range(50):
        refusal(subject, WEB)
    assert taken(subject, PAYMENTS) == 1


def test_a_refused_namespace_charges_no_identity() -> None:
    """A namespace at its limit does not use up the identity's tokens."""
    subject = quota(identity=Rate(per_second=0.001, burst=2), namespace=Rate(per_second=1, burst=1))
    subject.take(WEB, 0)
    for _ in range(50):
        refusal(subject, PAYMENTS)
    subject.take(PAYMENTS, 1)


def test_memory_is_bounded() -> None:
    """The longest unused buckets are forgotten, the others are kept."""
    subject = quota(identity=Rate(per_second=0.001, burst=1), tracked=10)
    for number in range(100):
        subject.take(SpiffeId(TD, f"/ns/shop/sa/web-{number}"), 0)
    assert len(subject._identities._levels) == 10
    assert refusal(subject, SpiffeId(TD, "/ns/shop/sa/web-99")).reason == "identity_quota"


def test_an_identity_of_another_shape_is_refused() -> None:
    """Without a namespace there is nothing to charge."""
    with pytest.raises(BadRequest):
        quota().take(SpiffeId(TD, "/spire/server"), 0)


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (1, Rate(per_second=10, burst=100)),
        (4, Rate(per_second=2.5, burst=25)),
        (64, Rate(per_second=0.15625, burst=10)),
    ],
    ids=["one", "four", "many"],
)
def test_workers_share_a_rate(parts: int, expected: Rate) -> None:
    """Each worker gets an equal part, and at least ten requests of burst: a connection stays with one."""
    assert Rate(per_second=10, burst=100).share(parts) == expected


def test_a_small_burst_is_not_shared() -> None:
    """It would be nothing."""
    assert Rate(per_second=10, burst=3).share(4) == Rate(per_second=2.5, burst=3)


RATES = st.builds(Rate, per_second=st.floats(0.01, 1000), burst=st.integers(1, 50))
REQUESTS = st.lists(
    st.tuples(st.sampled_from([WEB, PAYMENTS, INTRUDER]), st.floats(0, 5), st.booleans()), max_size=80
)


@given(RATES, RATES, REQUESTS, st.sampled_from([0.0, 12_345.678, 1e7]))
def test_no_sequence_beats_the_rate(
    identity: Rate, namespace: Rate, requests: list[tuple[SpiffeId, float, bool]], start: float
) -> None:
    """Within any run, each bucket passes at most its burst plus what its rate adds; a hint is always kept."""
    subject, now = quota(identity=identity, namespace=namespace), start
    passed: dict[str, int] = {}
    for who, pause, renewal in requests:
        now += pause
        try:
            subject.take(who, now, renewal=renewal)
        except Exhausted as error:
            now += error.retry_after
            subject.take(who, now, renewal=renewal)
        for key in (str(who), who.service_account().namespace):
            passed[key] = passed.get(key, 0) + 1
    for key, count in passed.items():
        rate = identity if key.startswith("spiffe:") else namespace
        assert count <= rate.burst + (now - start) * rate.per_second + 0.01

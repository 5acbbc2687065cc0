"""What a query asks for."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from meshca.errors import BadRequest
from meshca.ledger.query import MAX_LIMIT, Query
from meshca.ledger.record import Issuance, Result
from tests.fakes.records import NOW, failed, intent, issued

ONE = intent()
ISSUED = Issuance(intent=ONE, outcome=issued(ONE))
LATER = NOW + timedelta(seconds=1)
EARLIER = NOW - timedelta(seconds=1)


def test_the_empty_query_matches_everything() -> None:
    """No filter, no refusal."""
    assert Query().matches(ISSUED)


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"spiffe_id": "spiffe://cluster.local/ns/shop/sa/web"}, True),
        ({"spiffe_id": "spiffe://cluster.local/ns/shop/sa/we"}, False),
        ({"namespace": "shop"}, True),
        ({"namespace": "sho"}, False),
        ({"pod": "web-1"}, True),
        ({"pod": "pod-uid-1"}, True),
        ({"pod": "web-2"}, False),
        ({"node": "node-1"}, True),
        ({"node": "node-uid-1"}, True),
        ({"node": "node-2"}, False),
        ({"issuer": "dev"}, True),
        ({"issuer": "other"}, False),
        ({"result": Result.ISSUED}, True),
        ({"result": Result.FAILED}, False),
        ({"result": Result.UNKNOWN}, False),
        ({"since": NOW}, True),
        ({"since": LATER}, False),
        ({"until": LATER}, True),
        ({"until": NOW}, False),
        ({"since": EARLIER, "until": LATER}, True),
        ({"namespace": "shop", "pod": "web-2"}, False),
    ],
    ids=str,
)
def test_all_filters_must_hold(filters: dict[str, Any], expected: bool) -> None:  # noqa: FBT001 - a row's answer
    """Each filter compares one thing; the beginning of a time range belongs to it, its end does not."""
    assert Query(**filters).matches(ISSUED) is expected


def test_the_other_results_are_told_apart() -> None:
    """Failed and unknown have their filters too."""
    records = [Issuance(intent=ONE, outcome=failed(ONE)), Issuance(intent=ONE)]
    found = [
        [Query(result=result).matches(record) for record in records] for result in (Result.FAILED, Result.UNKNOWN)
    ]
    assert found == [[True, False], [False, True]]


@pytest.mark.parametrize("limit", [0, -1, MAX_LIMIT + 1])
def test_a_limit_out_of_range_is_refused(limit: int) -> None:
    """From 1 to 10,000."""
    with pytest.raises(BadRequest) as caught:
        Query(limit=limit)
    assert caught.value.reason == "limit"


@pytest.mark.parametrize("until", [NOW, EARLIER], ids=["empty", "backwards"])
def test_a_time_range_that_holds_nothing_is_refused(until: Any) -> None:
    """It can only be a mistake."""
    with pytest.raises(BadRequest) as caught:
        Query(since=NOW, until=until)
    assert caught.value.reason == "time_range"

"""Questions and records survive their messages, and bad questions are refused by name."""

from __future__ import annotations

from dataclasses import replace

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from meshca._proto.meshca.admin.v1.admin_pb2 import ListIssuancesRequest
from meshca.errors import BadRequest
from meshca.ledger.query import DEFAULT_LIMIT, Query
from meshca.ledger.record import Intent, Issuance, Outcome, Result
from meshca.rpc.admin_messages import (
    issuance_message,
    issuance_of,
    query_message,
    query_of,
)
from tests.fakes.any_records import instants, intents, outcomes, texts

filters = st.none() | texts.filter(bool)
queries = st.builds(
    Query,
    spiffe_id=filters,
    namespace=filters,
    pod=filters,
    node=filters,
    issuer=filters,
    result=st.none() | st.sampled_from(Result),
    since=st.none() | instants,
    limit=st.integers(1, 10_000),
)


@given(intents, st.none() | outcomes)
def test_records_survive(intent: Intent, outcome: Outcome | None) -> None:
    """With and without an outcome."""
    issuance = Issuance(intent=intent, outcome=outcome and replace(outcome, serial=intent.serial))
    message = issuance_message(issuance)
    assert issuance_of(type(message).FromString(message.SerializeToString())) == issuance


@given(queries)
def test_queries_survive(query: Query) -> None:
    """An absent filter stays absent."""
    message = query_message(query)
    assert query_of(type(message).FromString(message.SerializeToString())) == query


def test_an_empty_request_asks_for_the_newest() -> None:
    """A hundred of anything."""
    assert query_of(ListIssuancesRequest()) == Query(limit=DEFAULT_LIMIT)


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (ListIssuancesRequest(result="Issued"), "result"),
        (ListIssuancesRequest(limit=10_001), "limit"),
        (ListIssuancesRequest(since=Timestamp(seconds=2), until=Timestamp(seconds=1)), "time_range"),
        (ListIssuancesRequest(since=Timestamp(seconds=2**60)), "time_range"),
        (ListIssuancesRequest(until=Timestamp(seconds=-(2**60))), "time_range"),
    ],
    ids=["result", "limit", "backwards", "too late", "too early"],
)
def test_a_bad_request_is_refused(request_: ListIssuancesRequest, reason: str) -> None:
    """As the client's mistake."""
    with pytest.raises(BadRequest) as caught:
        query_of(request_)
    assert caught.value.reason == reason

"""Values survive their messages, and bad requests are refused by name."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from meshca._proto.meshca.v1.admin_pb2 import ListIssuancesRequest
from meshca.errors import BadRequest
from meshca.ledger.query import DEFAULT_LIMIT, Query
from meshca.ledger.record import Intent, Issuance, Outcome, Result
from meshca.rpc.admin_messages import (
    issuance_message,
    issuance_of,
    query_message,
    query_of,
    status_message,
    status_of,
)
from meshca.rpc.status_report import (
    AgentReport,
    CertificateReport,
    ClusterReport,
    PolicyReport,
    ResourceReport,
    StatusReport,
    TokenReviewReport,
    WorkerReport,
)
from tests.fakes.any_records import instants, intents, outcomes, texts

pids = st.integers(0, 2**31)
certificates = st.builds(
    CertificateReport,
    kind=texts,
    subject=texts,
    serial=texts,
    sha256=texts,
    not_before=instants,
    not_after=instants,
)
workers = st.builds(WorkerReport, name=texts, pid=pids, ready=st.booleans(), detail=texts, restarts=pids)
resources = st.builds(
    ResourceReport,
    kind=texts,
    sent_version=texts,
    adopted_version=texts,
    grade=texts,
    pending_pids=st.lists(pids).map(tuple),
    error=texts,
)
agents = st.builds(
    AgentReport,
    spiffe_id=texts,
    node=texts,
    pod=texts,
    last_seen=instants,
    connected=st.booleans(),
    resources=st.lists(resources, max_size=2).map(tuple),
)
reports = st.builds(
    StatusReport,
    version=texts,
    trust_domain=texts,
    started_at=instants,
    certificates=st.lists(certificates, max_size=2).map(tuple),
    roots_version=texts,
    workers=st.lists(workers, max_size=2).map(tuple),
    policies=st.builds(PolicyReport, version=texts, count=pids, error=texts),
    agents=st.lists(agents, max_size=2).map(tuple),
    admission_error=texts,
    config_error=texts,
    authority_error=texts,
    store_error=texts,
    ending_warning=texts,
    token_review=st.none()
    | st.builds(TokenReviewReport, cluster=texts, mode=texts, cache=st.timedeltas(timedelta(0), timedelta(1))),
    clusters=st.lists(
        st.builds(ClusterReport, name=texts, secret=texts, state=texts, problem=texts), max_size=2
    ).map(tuple),
)
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


@given(reports)
def test_reports_survive(report: StatusReport) -> None:
    """Over the wire and back."""
    message = status_message(report)
    assert status_of(type(message).FromString(message.SerializeToString())) == report


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

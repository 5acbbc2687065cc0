"""A status survives its messages, and what does not fit is counted."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshca.rpc import status_messages
from meshca.rpc.status_messages import status_message, status_of
from meshca.rpc.status_report import (
    AgentReport,
    CertificateReport,
    ClusterReport,
    PolicyReport,
    ResourceReport,
    StatusReport,
    TokenReviewReport,
    UpstreamReport,
    WorkerReport,
)
from tests.fakes.any_records import instants, texts
from tests.fakes.reports import NOW, agent, report

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
    agents_left_out=pids,
    upstream=st.builds(
        UpstreamReport,
        kind=texts,
        autonomy=st.timedeltas(timedelta(0), timedelta(days=9000)),
        reached_at=st.none() | instants,
        fault=texts,
        remedy=texts,
        leaf_error=texts,
    ),
)


@given(reports)
def test_reports_survive(said: StatusReport) -> None:
    """Over the wire and back."""
    message = status_message(said)
    assert status_of(type(message).FromString(message.SerializeToString())) == said


def test_agents_that_do_not_fit_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connected ones stay, then those heard last, in their order."""
    every = (
        agent(node="a", connected=False, last_seen=NOW + timedelta(seconds=1)),
        agent(node="b", connected=False, last_seen=NOW + timedelta(seconds=9)),
        agent(node="c"),
        agent(node="d", connected=False),
    )
    one = status_message(report(agents=every[:1])).agents[0].ByteSize()
    monkeypatch.setattr(status_messages, "MAX_AGENT_BYTES", 2 * one + one // 2)
    found = status_of(status_message(report(agents=every, agents_left_out=5)))
    assert ([each.node for each in found.agents], found.agents_left_out) == (["b", "c"], 5 + 2)

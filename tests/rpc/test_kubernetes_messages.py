"""What is said of the work for a cluster survives its messages."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from meshca.rpc.kubernetes_messages import kubernetes_message, kubernetes_of
from meshca.rpc.kubernetes_report import KubernetesReport, ObjectReport, PublishedReport
from meshca.rpc.status_messages import status_message, status_of
from tests.fakes.any_records import instants, texts
from tests.fakes.reports import report as status_report

counts = st.integers(0, 2**32 - 1)
published = st.builds(
    PublishedReport,
    in_sync=counts,
    pending=counts,
    failing=counts,
    contested=counts,
    problems=st.lists(st.builds(ObjectReport, name=texts, detail=texts), max_size=3).map(tuple),
    error=texts,
)
reports = st.builds(
    KubernetesReport,
    leading=st.booleans(),
    holder=texts,
    election_error=texts,
    left_out=st.lists(texts, max_size=3).map(tuple),
    config_maps=st.none() | published,
    bundle=st.none() | published,
    bundle_version=texts,
    istiod_secret=texts,
    istiod_not_after=st.none() | instants,
    istiod_error=texts,
    rival=texts,
)


@given(reports)
def test_there_and_back(report: KubernetesReport) -> None:
    """Nothing is lost, and what is absent stays so."""
    assert kubernetes_of(kubernetes_message(report)) == report


@given(reports)
def test_part_of_the_status(report: KubernetesReport) -> None:
    """The status carries it."""
    status = status_report(kubernetes=report)
    assert status_of(status_message(status)) == status

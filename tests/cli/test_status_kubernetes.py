"""The part of `meshca status` about the cluster."""

from __future__ import annotations

from dataclasses import replace

from meshca.cli.status import text
from meshca.cli.status_kubernetes import problems, section
from meshca.rpc.kubernetes_report import KubernetesReport, ObjectReport, PublishedReport
from tests.fakes.reports import NOW, report

WELL = PublishedReport(in_sync=12, pending=0, failing=0, contested=0, problems=(), error="")
LEADER = KubernetesReport(
    leading=True,
    holder="one",
    config_maps=WELL,
    bundle=replace(WELL, in_sync=1),
    bundle_version="v1",
    istiod_secret="istio-system/istiod-tls",
    istiod_not_after=NOW,
)


def test_a_leader_that_is_well() -> None:
    """What is published, and until when."""
    assert section(LEADER) == (
        "this replica writes to the cluster\n"
        "PUBLISHED             STATE\n"
        "root config maps      12 in sync\n"
        "cluster trust bundle  1 in sync\n"
        "istiod certificate    istio-system/istiod-tls ends 2026-01-01T00:00:00Z"
    )
    assert list(problems(LEADER)) == []


def test_a_follower() -> None:
    """Who writes, and that its own counts say nothing."""
    nothing = replace(WELL, in_sync=0)
    follower = replace(LEADER, leading=False, config_maps=nothing, bundle=None, istiod_not_after=None)
    assert section(follower) == (
        "one writes to the cluster\n"
        "PUBLISHED           STATE\n"
        "root config maps    by another replica\n"
        "istiod certificate  istio-system/istiod-tls not known here"
    )


def test_nobody() -> None:
    """Before anybody leads."""
    nobody = KubernetesReport(leading=False, holder="", election_error="home: get leases: forbidden")
    assert section(nobody) == "nobody writes to the cluster now"
    assert list(problems(nobody)) == ["the lease cannot be used: home: get leases: forbidden"]


def test_replicas_that_share_no_store() -> None:
    """With what may happen, and what to do."""
    (problem,) = problems(replace(LEADER, leading=False, rival="one"))
    assert problem.startswith("one runs beside this replica, and they share no store: ")


def test_no_such_api() -> None:
    """A cluster without ClusterTrustBundles is no problem, and is said."""
    assert "this cluster has no such API" in section(replace(LEADER, bundle_version=""))


def test_problems() -> None:
    """Each with the object that it is about."""
    bad = PublishedReport(
        in_sync=1,
        pending=2,
        failing=1,
        contested=1,
        problems=(ObjectReport(name="shop", detail="too large"),),
        error="home: watch namespaces: forbidden",
    )
    report = replace(
        LEADER,
        config_maps=bad,
        left_out=("certificate 2 is damaged",),
        istiod_error="made by somebody else",
    )
    assert "1 in sync, 2 pending, 1 failing, 1 contested" in section(report)
    assert list(problems(report)) == [
        "among the roots: certificate 2 is damaged; it is not published",
        "root config maps: home: watch namespaces: forbidden",
        "root config maps: shop: too large",
        "istiod certificate istio-system/istiod-tls: made by somebody else",
    ]


def test_shown_by_status() -> None:
    """The section stands in the whole, and its problems under PROBLEMS."""
    whole = text(report(kubernetes=replace(LEADER, istiod_error="made by somebody else")))
    assert "this replica writes to the cluster" in whole
    assert "- istiod certificate istio-system/istiod-tls: made by somebody else" in whole

"""Status reports for tests."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from meshca.rpc.status_report import (
    AgentReport,
    CertificateReport,
    PolicyReport,
    ResourceReport,
    StatusReport,
    UpstreamReport,
    WorkerReport,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def resource(**changes: Any) -> ResourceReport:
    """Roots, adopted on the word of an Envoy."""
    usual = ResourceReport(
        kind="roots",
        sent_version="r" * 32,
        adopted_version="r" * 32,
        grade="envoy",
        pending_pids=(),
        error="",
    )
    return replace(usual, **changes)


def agent(**changes: Any) -> AgentReport:
    """The agent of `shop/web`, connected, with everything in force."""
    usual = AgentReport(
        spiffe_id="spiffe://cluster.local/ns/shop/sa/web",
        node="web-1",
        pod="web-1",
        last_seen=NOW,
        connected=True,
        resources=(resource(kind="policies", sent_version="p" * 32, adopted_version="p" * 32), resource()),
    )
    return replace(usual, **changes)


def report(**changes: Any) -> StatusReport:
    """A server that is well."""
    usual = StatusReport(
        version="0.1.0",
        trust_domain="cluster.local",
        started_at=NOW,
        certificates=(
            CertificateReport(
                kind="root",
                subject="CN=meshca root 1,O=cluster.local",
                serial="ab12",
                sha256="cd" * 32,
                not_before=NOW,
                not_after=NOW + timedelta(days=3650),
            ),
        ),
        roots_version="r" * 32,
        workers=(WorkerReport(name="w0", pid=101, ready=True, detail="", restarts=0),),
        policies=PolicyReport(version="p" * 32, count=2),
        agents=(agent(),),
        upstream=UpstreamReport(kind="self_signed", autonomy=timedelta(days=15)),
    )
    return replace(usual, **changes)

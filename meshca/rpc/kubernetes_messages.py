"""What a server says of its work for a cluster, as messages and back."""

from __future__ import annotations

from meshca._proto.meshca.admin.v1 import admin_pb2
from meshca.rpc.kubernetes_report import KubernetesReport, ObjectReport, PublishedReport
from meshca.rpc.timestamps import instant, timestamp


def kubernetes_message(report: KubernetesReport) -> admin_pb2.KubernetesStatus:
    """A report as a message."""
    return admin_pb2.KubernetesStatus(
        leading=report.leading,
        holder=report.holder,
        election_error=report.election_error,
        left_out=report.left_out,
        config_maps=_published_message(report.config_maps),
        bundle=_published_message(report.bundle),
        bundle_version=report.bundle_version,
        istiod_secret=report.istiod_secret,
        istiod_not_after=timestamp(report.istiod_not_after),
        istiod_error=report.istiod_error,
        rival=report.rival,
    )


def kubernetes_of(message: admin_pb2.KubernetesStatus) -> KubernetesReport:
    """A message as the report that it was made of."""
    ends = instant(message.istiod_not_after) if message.HasField("istiod_not_after") else None
    return KubernetesReport(
        leading=message.leading,
        holder=message.holder,
        election_error=message.election_error,
        left_out=tuple(message.left_out),
        config_maps=_published_of(message.config_maps) if message.HasField("config_maps") else None,
        bundle=_published_of(message.bundle) if message.HasField("bundle") else None,
        bundle_version=message.bundle_version,
        istiod_secret=message.istiod_secret,
        istiod_not_after=ends,
        istiod_error=message.istiod_error,
        rival=message.rival,
    )


def _published_message(report: PublishedReport | None) -> admin_pb2.PublishedStatus | None:
    if report is None:
        return None
    return admin_pb2.PublishedStatus(
        in_sync=report.in_sync,
        pending=report.pending,
        failing=report.failing,
        contested=report.contested,
        problems=[admin_pb2.ObjectStatus(name=one.name, detail=one.detail) for one in report.problems],
        error=report.error,
    )


def _published_of(message: admin_pb2.PublishedStatus) -> PublishedReport:
    return PublishedReport(
        in_sync=message.in_sync,
        pending=message.pending,
        failing=message.failing,
        contested=message.contested,
        problems=tuple(ObjectReport(name=one.name, detail=one.detail) for one in message.problems),
        error=message.error,
    )

"""The part of `meshca status` about the cluster: who writes, what is published, what is in the way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from meshca.cli.columns import fit, iso
from meshca.cli.output import table
from meshca.printable import printable

if TYPE_CHECKING:
    from meshca.rpc.kubernetes_report import KubernetesReport, PublishedReport

MAPS, BUNDLE, ISTIOD = "root config maps", "cluster trust bundle", "istiod certificate"


def section(report: KubernetesReport) -> str:
    """Who leads, and a line for each thing that is written."""
    if report.leading:
        who = "this replica writes to the cluster"
    elif report.holder:
        who = f"{fit(report.holder, 60)} writes to the cluster"
    else:
        who = "nobody writes to the cluster now"
    rows = list(_rows(report))
    return f"{who}\n{table(rows, ('published', 'state'))}" if rows else who


def problems(report: KubernetesReport) -> Iterator[str]:
    """What is in the way."""
    if report.rival:
        yield (
            f"{report.rival} runs beside this replica, and they share no store: neither counts what the other"
            " served, so a root may be dropped that is in use; run one replica, or give all one PostgreSQL"
        )
    if report.election_error:
        yield f"the lease cannot be used: {report.election_error}"
    for problem in report.left_out:
        yield f"among the roots: {problem}; it is not published"
    for what, part in ((MAPS, report.config_maps), (BUNDLE, report.bundle)):
        if part is not None:
            if part.error:
                yield f"{what}: {part.error}"
            for one in part.problems:
                yield f"{what}: {one.name}: {one.detail}"
    if report.istiod_error:
        yield f"{ISTIOD} {report.istiod_secret}: {report.istiod_error}"


def _rows(report: KubernetesReport) -> Iterator[dict[str, object]]:
    if report.config_maps is not None:
        yield {"published": MAPS, "state": _counts(report, report.config_maps)}
    if report.bundle is not None:
        missing = report.leading and not report.bundle_version
        state = "this cluster has no such API" if missing else _counts(report, report.bundle)
        yield {"published": BUNDLE, "state": state}
    if report.istiod_secret:
        ends = f"ends {iso(report.istiod_not_after)}" if report.istiod_not_after else "not known here"
        yield {"published": ISTIOD, "state": f"{printable(report.istiod_secret)} {ends}"}


def _counts(report: KubernetesReport, part: PublishedReport) -> str:
    if not report.leading:
        return "by another replica"
    said = [f"{part.in_sync} in sync"]
    said += [
        f"{count} {what}"
        for count, what in ((part.pending, "pending"), (part.failing, "failing"), (part.contested, "contested"))
        if count
    ]
    return ", ".join(said)

"""`meshca status`: what the running server signs with, whether it works, and what each agent has adopted."""

from __future__ import annotations

import dataclasses
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from meshca.cli import status_kubernetes, status_upstream
from meshca.cli.admin_socket import ConfigFile, Socket, ask
from meshca.cli.columns import WIDTH, exact, fit, iso, workload
from meshca.cli.output import Format, Output, emit, reporting_errors, table
from meshca.duration import format_duration
from meshca.printable import printable

if TYPE_CHECKING:
    from meshca.rpc.status_report import AgentReport, ResourceReport, StatusReport, TokenReviewReport

SHOWN = 5  # problems; `--output json` has all
ROOTS, POLICIES = "roots", "policies"


def command(socket: Socket = None, config: ConfigFile = None, output: Output = Format.TEXT) -> None:
    """Show the running server: certificates, workers, policies, and what every agent has adopted."""
    with reporting_errors(output):
        report = ask(socket, config, lambda client: client.status())
    emit(document(report), text(report), output)


def document(report: StatusReport) -> dict[str, Any]:
    """The report as scripts get it; times in UTC."""
    plain: dict[str, Any] = _plain(dataclasses.asdict(report))
    return plain


def _plain(value: Any) -> Any:  # noqa: ANN401 - any part of a report
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, timedelta):
        return format_duration(value)
    return exact(value) if isinstance(value, datetime) else value


def text(report: StatusReport) -> str:
    """The report for people, 100 columns wide at most."""
    policies = report.policies
    count = f"{policies.count} {'policy' if policies.count == 1 else 'policies'}"
    heading = (
        f"meshca {report.version}, trust domain {report.trust_domain}, up since {iso(report.started_at)}\n"
        f"roots {short(report.roots_version)}, {count} {short(policies.version)}"
    )
    heading += f"\n{status_upstream.line(report.upstream)}"
    if report.token_review:
        heading += f"\n{_token_review(report.token_review)}"
    parts = [heading, _certificates(report), _workers(report)]
    parts += [_clusters(report)] if report.clusters else []
    parts += [status_kubernetes.section(report.kubernetes)] if report.kubernetes else []
    parts.append(_agents(report))
    if problems := list(_problems(report)):
        more = [f"… {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
        parts.append("\n".join(["PROBLEMS", *map(_item, problems[:SHOWN]), *more]))
    return "\n\n".join(parts)


def _token_review(review: TokenReviewReport) -> str:
    """How tokens are proven, and for how long one that was revoked may still be believed."""
    proven = f"tokens are proven by cluster {fit(review.cluster, 40)}, mode {printable(review.mode)}"
    if review.mode == "pods":
        return f"{proven}: nothing is asked, only the pod is looked at"
    if not review.cache:
        return f"{proven}: every use is reviewed"
    return f"{proven}: a review holds {format_duration(review.cache)}"


def short(version: str) -> str:
    """The first digits of a content hash."""
    return printable(version[:12]) or "(none)"


def _certificates(report: StatusReport) -> str:
    rows = [
        {
            "certificate": one.kind,
            "ends": iso(one.not_after),
            "sha256": one.sha256[:16],
            "subject": fit(one.subject, 46),
        }
        for one in report.certificates
    ]
    return table(rows, ("certificate", "ends", "sha256", "subject"))


def _workers(report: StatusReport) -> str:
    rows = [
        {
            "worker": fit(one.name, 16),
            "pid": one.pid,
            "state": "ready" if one.ready else "not ready",
            "restarts": one.restarts,
        }
        for one in report.workers
    ]
    return table(rows, ("worker", "pid", "state", "restarts"))


def _clusters(report: StatusReport) -> str:
    rows = [
        {
            "cluster": fit(one.name, 40),
            "state": one.state,
            "secret": fit(one.secret, 40) or "-",
        }
        for one in report.clusters
    ]
    return table(rows, ("cluster", "state", "secret"))


def _agents(report: StatusReport) -> str:
    """A row for each, and one for all of a pod that stand alike, with how many they are."""
    if not report.agents:
        return "no agent has connected yet"
    alike = Counter(
        (
            one.spiffe_id,
            one.pod,
            one.node,
            "connected" if one.connected else iso(one.last_seen),
            _state(one, ROOTS, report.roots_version),
            _state(one, POLICIES, None),
        )
        for one in report.agents
    )
    rows = [
        {
            "agent": _counted(workload(identity), count),
            "node": fit(node, 24),
            "seen": seen,
            "roots": roots,
            "policies": policies,
        }
        for (identity, _, node, seen, roots, policies), count in alike.items()
    ]
    more = f"\n… {report.agents_left_out} more, which do not fit" if report.agents_left_out else ""
    return table(rows, ("agent", "node", "seen", "roots", "policies")) + more


def _counted(name: str, count: int) -> str:
    suffix = f" x{count}" if count > 1 else ""
    return fit(name, 30 - len(suffix)) + suffix


def _state(agent: AgentReport, kind: str, current: str | None) -> str:
    """On whose word the current version is adopted, or why it is not."""
    found = _resource(agent, kind)
    if found is None:
        return "-"
    if found.grade == "refused":
        return "refused"
    if found.adopted_version != (current or found.sent_version):
        return "behind"
    return f"by {found.grade}" if found.grade else "waiting"


def _resource(agent: AgentReport, kind: str) -> ResourceReport | None:
    return next((one for one in agent.resources if one.kind == kind), None)


def _problems(report: StatusReport) -> Iterator[str]:
    for error, what in (
        (report.config_error, "the configuration on disk is not in force"),
        (report.admission_error, "the admission rules on disk are not in force"),
        (report.policies.error, "the policies on disk are not in force"),
        (report.authority_error, "no new signing certificate could be had"),
        (report.upstream.leaf_error, "certificates that were asked for were not signed"),
        (report.ending_warning, "what signs comes to its end"),
        (report.store_error, "the store cannot be used"),
    ):
        if error:
            yield f"{what}: {error}"
    for worker in report.workers:
        if not worker.ready:
            yield f"worker {worker.name}: {worker.detail or 'not ready'}"
    if report.kubernetes is not None:
        yield from status_kubernetes.problems(report.kubernetes)
    for cluster in report.clusters:
        if cluster.problem:
            yield f"cluster {fit(cluster.name, 80)} {cluster.state}: {fit(cluster.problem, 400)}"
    yield from _of_agents(report.agents)


def _of_agents(agents: Iterable[AgentReport]) -> Iterator[str]:
    """One line for each pod, and for all agents of an identity without one, so that none hides the others.

    However many streams a pod has, or names an identity without one calls itself.
    """
    found: dict[tuple[str, str], list[str]] = {}
    for one in agents:
        found.setdefault((one.spiffe_id, one.pod), []).extend(_of_agent(one))
    for (_, pod), (first, *more) in ((key, lines) for key, lines in found.items() if lines):
        whose = "of this pod" if pod else "of this identity without a pod"
        yield f"{first}; and {len(more)} more {whose}" if more else first


def _of_agent(agent: AgentReport) -> Iterator[str]:
    who = f"{fit(workload(agent.spiffe_id), 80)} on {fit(agent.node, 80)}"
    for one in agent.resources:
        if one.error:
            yield f"{who}: {one.kind} {short(one.sent_version)}: {fit(one.error, 400)}"
        if one.pending_pids:
            pids = ", ".join(map(str, one.pending_pids))
            yield f"{who}: {one.kind} {short(one.sent_version)}: not in force yet at Envoy with pid {pids}"


def _item(problem: str) -> str:
    return textwrap.fill(
        printable(problem),
        WIDTH,
        initial_indent="- ",
        subsequent_indent="  ",
    )

"""What a server says of itself to its administrator: values, without messages and without judgement.

`app` fills them in, `rpc.admin` sends them, the command line prints them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby, zip_longest

from meshca.authority.adoption import Adoption
from meshca.rpc.kubernetes_report import KubernetesReport


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateReport:
    """A certificate of the server's own.

    Attributes:
        kind: root, intermediate or serving.
        subject: as RFC 4514 writes it.
        serial: lower-case hexadecimal.
        sha256: of the DER, lower-case hexadecimal.
        not_before, not_after: its validity.
    """

    kind: str
    subject: str
    serial: str
    sha256: str
    not_before: datetime
    not_after: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerReport:
    """How one worker is.

    Attributes:
        name: of its place.
        pid: its process.
        ready: whether it signed, verified, wrote and read just now.
        detail: why not, empty when ready.
        restarts: how often the place's worker has crashed.
    """

    name: str
    pid: int
    ready: bool
    detail: str
    restarts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyReport:
    """The policies in force.

    Attributes:
        version: of the whole set.
        count: how many there are.
        error: why the files on disk are not in force, empty when they are.
    """

    version: str
    count: int
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceReport:
    """Which version of one kind an agent has adopted; the fields are those of `Adoption`."""

    kind: str
    sent_version: str
    adopted_version: str
    grade: str
    pending_pids: tuple[int, ...]
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentReport:
    """An agent and what it has adopted.

    Attributes:
        spiffe_id: its proven identity.
        node: its own name in xDS.
        pod: that its certificate is bound to, empty when unbound.
        last_seen: when it last said something.
        connected: whether one of its streams is open.
        resources: what it has adopted, by kind.
    """

    spiffe_id: str
    node: str
    pod: str
    last_seen: datetime
    connected: bool
    resources: tuple[ResourceReport, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenReviewReport:
    """How tokens of Kubernetes clusters are proven.

    Attributes:
        cluster: our name of the home cluster.
        mode: review, local or pods.
        cache: for how long a good answer of the API server is used again; nothing in mode pods.
    """

    cluster: str
    mode: str
    cache: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterReport:
    """A Kubernetes cluster.

    Attributes:
        name: our name of it; of a refused one whatever its Secret says.
        secret: name of the Secret that says how to reach it, empty for the home cluster.
        state: `good`, `failing` (a worker at least cannot follow it) or `refused`.
        problem: why, empty when good.
    """

    name: str
    secret: str
    state: str
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamReport:
    """Whoever signs for us.

    Attributes:
        kind: as the configuration says it.
        autonomy: for how long certificates can be issued if it gives nothing more.
        reached_at: when it was last there and answered; None before that, and where nobody has to be reached.
        fault: what is wrong with Vault, a row of the table in docs/operations/vault.md; empty when nothing is.
        remedy: what mends it.
        leaf_error: why it signs no leaves in our place, or several identities get none; empty when it does.
    """

    kind: str
    autonomy: timedelta
    reached_at: datetime | None = None
    fault: str = ""
    remedy: str = ""
    leaf_error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusReport:
    """A server.

    Attributes:
        version: of meshca.
        trust_domain: that it signs for.
        started_at: when the parent started.
        certificates: its own, roots first.
        roots_version: of the bundle that agents should hold.
        workers: by place.
        policies: in force.
        agents: that it ever heard of and has not forgotten.
        upstream: whoever signs for it.
        admission_error, config_error, authority_error, store_error: why the newest of each is not in force or
            cannot be used; empty when it is and can.
        agents_left_out: how many more agents there are than fit into an answer.
        ending_warning: which certificate of those that sign ends soon and what to do; empty when none does.
        kubernetes: what is written to the cluster; None when nothing is configured.
        token_review: how tokens of clusters are proven; None when they are not.
        clusters: Kubernetes clusters, the home cluster first.
    """

    version: str
    trust_domain: str
    started_at: datetime
    certificates: tuple[CertificateReport, ...]
    roots_version: str
    workers: tuple[WorkerReport, ...]
    policies: PolicyReport
    agents: tuple[AgentReport, ...]
    upstream: UpstreamReport
    admission_error: str = ""
    config_error: str = ""
    authority_error: str = ""
    store_error: str = ""
    ending_warning: str = ""
    kubernetes: KubernetesReport | None = None
    token_review: TokenReviewReport | None = None
    clusters: tuple[ClusterReport, ...] = ()
    agents_left_out: int = 0


def agents_of(adoptions: Iterable[Adoption]) -> tuple[AgentReport, ...]:
    """Adoption records as reports, one by speaker; ordered by agent and node.

    Who speaks on several streams about the same is there several times: each may stand elsewhere.
    """
    ordered = sorted(adoptions, key=lambda one: (one.speaker, one.kind, one.row))
    return tuple(
        _report([one for one in together if one is not None])
        for _, records in groupby(ordered, key=lambda one: one.speaker)
        for together in zip_longest(*(list(some) for _, some in groupby(records, key=lambda one: one.kind)))
    )


def _report(records: list[Adoption]) -> AgentReport:
    latest = max(records, key=lambda one: one.seen_at)
    return AgentReport(
        spiffe_id=str(latest.agent),
        node=latest.node_id,
        pod=latest.pod,
        last_seen=latest.seen_at,
        connected=any(one.connected for one in records),
        resources=tuple(
            ResourceReport(
                kind=one.kind.value,
                sent_version=one.sent_version,
                adopted_version=one.adopted_version,
                grade=one.grade.value,
                pending_pids=one.pending_pids,
                error=one.error,
            )
            for one in records
        ),
    )

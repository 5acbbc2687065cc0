"""What the server tells its administrator of itself, gathered from the parts that know."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from importlib.metadata import version

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from meshca.app.ending import EndWatch, autonomy
from meshca.app.in_force import InForce
from meshca.app.place import WorkerState
from meshca.app.supervisor import Supervisor
from meshca.authority.adoption import Adoption, AdoptionStore
from meshca.authority.slot import Slot
from meshca.clock import Clock
from meshca.config.kubernetes import KubernetesConfig
from meshca.discovery.resources import content_hash
from meshca.errors import Unavailable
from meshca.rotation.driver import Rotation
from meshca.rpc.kubernetes_report import KubernetesReport
from meshca.rpc.status_report import (
    CertificateReport,
    ClusterReport,
    PolicyReport,
    StatusReport,
    TokenReviewReport,
    UpstreamReport,
    WorkerReport,
    agents_of,
)
from meshca.upstream.vault.faults import TABLE, fault_of


class Status:
    """Answers `meshca status`.

    Args:
        in_force: configuration, rules, policies, and why newer ones are not.
        supervisor: knows the workers.
        rotation: knows the signer.
        end_watch: knows whether it ends soon.
        adoptions: what agents hold.
        started_at: when the server started.
        clock: for how long is left.
        kubernetes: tells what is written to the cluster; None when nothing is configured.
    """

    def __init__(  # noqa: PLR0913 - its parts, by name
        self,
        *,
        in_force: InForce,
        supervisor: Supervisor,
        rotation: Rotation,
        end_watch: EndWatch,
        adoptions: AdoptionStore,
        started_at: datetime,
        clock: Clock,
        kubernetes: Callable[[], KubernetesReport] | None = None,
    ) -> None:
        self._in_force = in_force
        self._supervisor = supervisor
        self._rotation = rotation
        self._end_watch = end_watch
        self._adoptions = adoptions
        self._started_at = started_at
        self._clock = clock
        self._kubernetes = kubernetes

    async def report(self) -> StatusReport:
        """How the server is now; every worker is asked."""
        workers = await self._supervisor.states()
        adoptions, store_error = await self._held()
        progress, errors = self._rotation.progress, self._in_force.errors
        authority = self._in_force.authority
        return StatusReport(
            version=version("meshca"),
            trust_domain=str(self._in_force.loaded.config.trust_domain),
            started_at=self._started_at,
            certificates=tuple(_certificates(progress.slot, workers)),
            roots_version=content_hash(authority.roots.encode()) if authority else "",
            workers=tuple(map(_worker, workers)),
            policies=self._policies(),
            agents=agents_of(adoptions),
            admission_error=errors.get("admission", ""),
            config_error=errors.get("config", ""),
            authority_error=progress.error.detail if progress.error else "",
            store_error=store_error,
            ending_warning=self._end_watch.warning,
            kubernetes=self._kubernetes() if self._kubernetes else None,
            token_review=_token_review(self._in_force.loaded.config.kubernetes),
            clusters=tuple(_clusters(workers)),
            upstream=self._upstream(),
        )

    def _upstream(self) -> UpstreamReport:
        progress, config = self._rotation.progress, self._in_force.loaded.config
        leaf = self._rotation.leaf_problem
        fault = fault_of(progress.error) or fault_of(leaf)
        return UpstreamReport(
            kind=config.upstream.kind,
            autonomy=autonomy(progress.slot, config, self._clock.now()),
            reached_at=self._rotation.reached_at,
            fault=fault.value if fault else "",
            remedy=TABLE[fault].remedy if fault else "",
            leaf_error=leaf.detail if leaf else "",
        )

    async def _held(self) -> tuple[Sequence[Adoption], str]:
        try:
            return await self._adoptions.list(), ""
        except Unavailable as error:
            return (), error.detail

    def _policies(self) -> PolicyReport:
        policies = self._in_force.loaded.policies
        return PolicyReport(
            version=policies.version,
            count=len(policies.parsed.policies.policies),
            error=self._in_force.errors.get("policies", ""),
        )


def _token_review(config: KubernetesConfig | None) -> TokenReviewReport | None:
    if config is None or not config.token_review.enabled:
        return None
    review = config.token_review
    cache = timedelta(0) if review.mode == "pods" else review.cache
    return TokenReviewReport(cluster=config.name, mode=review.mode, cache=cache)


def _clusters(workers: Sequence[WorkerState]) -> Iterator[ClusterReport]:
    """Each once, as the worker sees it that has most to complain of."""
    seen: dict[tuple[str, str], ClusterReport] = {}
    for found in (cluster for worker in workers for cluster in worker.clusters):
        state = "refused" if not found.followed else "failing" if found.problem else "good"
        report = ClusterReport(name=found.name, secret=found.secret, state=state, problem=found.problem)
        if seen.setdefault((found.name, found.secret), report).state == "good":
            seen[found.name, found.secret] = report
    yield from seen.values()


def _worker(state: WorkerState) -> WorkerReport:
    return WorkerReport(
        name=state.name, pid=state.pid, ready=state.ready, detail=state.detail, restarts=state.restarts
    )


def _certificates(slot: Slot | None, workers: Sequence[WorkerState]) -> Iterator[CertificateReport]:
    """Root first, then what signs below it, then each worker's own."""
    if slot is not None:
        root, *above = reversed(slot.path)
        yield _certificate("root", root)
        for intermediate in above:
            yield _certificate("intermediate", intermediate)
    for state in workers:
        if state.serving:
            yield _certificate("serving", x509.load_pem_x509_certificate(state.serving.encode()))


def _certificate(kind: str, certificate: x509.Certificate) -> CertificateReport:
    return CertificateReport(
        kind=kind,
        subject=certificate.subject.rfc4514_string(),
        serial=f"{certificate.serial_number:x}",
        sha256=certificate.fingerprint(hashes.SHA256()).hex(),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
    )

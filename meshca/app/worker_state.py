"""How a worker is, as the parent knows it from its answer to a probe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from meshca.authn.cluster import ClusterState


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerState:
    """One worker.

    Attributes:
        name: of its place.
        pid: its process.
        ready: whether everything works.
        detail: what does not, empty when ready.
        restarts: how often the place's worker has crashed.
        serving: PEM of its TLS certificate, empty when it did not say.
        silent: that it did not answer at all.
        clusters: how it sees Kubernetes clusters.
    """

    name: str
    pid: int
    ready: bool
    detail: str
    restarts: int
    serving: str = ""
    silent: bool = False
    clusters: Sequence[ClusterState] = ()

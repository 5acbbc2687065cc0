"""What a keeper says of its work, in the log and in metrics: each cause once, each event counted.

Two thousand objects that fail for one reason are one line of the log; `meshca status` has the names.
"""

from __future__ import annotations

from meshca import metrics
from meshca.errors import MeshcaError
from meshca.kube.kept import Kept
from meshca.kube.rivalry import Rivalry
from meshca.log import log


class Telling:
    """Speaks for one keeper.

    Args:
        kind: of its objects: metric label and log field.
    """

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._said: set[str] = set()

    def written(self) -> None:
        """An object holds the text now."""
        metrics.published_writes.labels(self._kind, "written").inc()

    def takeover(self, key: str, manager: str) -> None:
        """A field that another manager owns is about to be taken; said once for each of those."""
        metrics.published_takeovers.labels(self._kind).inc()
        if self._first(f"takeover {manager}"):
            log.warning("kube.field_taken_over", kind=self._kind, key=key, manager=manager or "unknown")

    def taking(self, key: str, rivalry: Rivalry) -> None:
        """Somebody changed what we had written; a fight is said once for each rival."""
        metrics.published_takings.labels(self._kind).inc()
        if rivalry.contested and self._first(f"rival {rivalry.rival}"):
            log.error("kube.contested", kind=self._kind, key=key, rival=rivalry.rival, pause_seconds=rivalry.pause)

    def foreign(self, key: str, detail: str) -> None:
        """What somebody else keeps there is left to them; said once for each such thing."""
        if self._first(f"foreign {detail}"):
            log.error("kube.left_to_others", kind=self._kind, key=key, detail=detail)

    def refused(self, key: str, error: MeshcaError) -> None:
        """The API server did not take an object."""
        metrics.published_writes.labels(self._kind, error.reason).inc()
        if self._first(f"refused {error.reason}"):
            log.error("kube.write_refused", kind=self._kind, key=key, detail=error.detail)

    def unanswered(self, key: str, error: MeshcaError, *, again: bool) -> None:
        """The API server did not answer, `again` if it did not before."""
        metrics.published_writes.labels(self._kind, error.reason).inc()
        if not again:
            log.warning("kube.write_failed", kind=self._kind, key=key, detail=error.detail)

    def converged(self, kept: Kept, seconds: float) -> None:
        """Every object that can hold the text does."""
        log.info(
            "kube.converged",
            kind=self._kind,
            objects=kept.in_sync,
            failing=len(kept.failing),
            seconds=round(seconds, 3),
        )

    def _first(self, said: str) -> bool:
        first = said not in self._said
        self._said.add(said)
        return first

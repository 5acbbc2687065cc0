"""Since when whoever reads published roots finds a root there: what the keepers report, kept for the gates.

Only the replica that publishes knows. What is in doubt counts as not published: it must never let a gate open.
Measured by the steady clock, so that a clock which is set right opens nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from meshca.authority.material import certificate_id, read_certificates
from meshca.clock import Clock
from meshca.kube.kept import Kept


class Publication:
    """Implements `rotation.judge.Publication`; `note` is called often.

    Args:
        clock: tells since when.

    Attributes:
        writes: whether this replica publishes: who does must drive rotations too, as nobody else knows; None when
            nothing is published.
    """

    def __init__(self, clock: Clock) -> None:
        self.writes: bool | None = None
        self._clock = clock
        self._pem = ""
        self._roots: frozenset[str] = frozenset()
        self._since: dict[str, float] = {}
        self._everywhere = False

    def note(self, pem: str, places: Sequence[Kept | None]) -> None:
        """How publishing stands now.

        Args:
            pem: the roots that are to be published; empty when none are yet.
            places: how each kind of place stands, None where we do not write: then what was known is forgotten.
        """
        self.writes = None not in places if places else None
        if pem != self._pem:
            self._pem = pem
            self._roots = (
                frozenset(map(certificate_id, read_certificates(pem.encode(), "roots"))) if pem else frozenset()
            )
        known = {} if None in places else self._since
        self._everywhere = bool(pem) and all(place is not None and place.everywhere for place in places)
        if self._everywhere:
            now = self._clock.monotonic()
            self._since = {root: known.get(root, now) for root in self._roots}
        else:
            self._since = {root: at for root, at in known.items() if root in self._roots}

    def published_since(self, root: str) -> datetime | None:
        """Since when every place holds this root; None while one does not, or is not known to."""
        since = self._since.get(root) if self._everywhere else None
        if since is None:
            return None
        return self._clock.now() - timedelta(seconds=self._clock.monotonic() - since)

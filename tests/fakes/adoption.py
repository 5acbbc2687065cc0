"""An adoption store that remembers in order."""

from __future__ import annotations

from collections.abc import Sequence

from meshca.authority.adoption import Adoption, Kind


class RecordedAdoptions:
    """Implements `authority.adoption.AdoptionStore` for observers; keeps every word."""

    def __init__(self) -> None:
        self.records: list[Adoption] = []
        self.ended: list[tuple[str, str]] = []

    def record(self, adoption: Adoption) -> None:
        """As the port says."""
        self.records.append(adoption)

    def disconnected(self, worker: str, stream: str) -> None:
        """As the port says."""
        self.ended.append((worker, stream))

    async def list(self) -> Sequence[Adoption]:
        """As the port says."""
        return self.records

    def last(self, kind: Kind) -> Adoption:
        """The latest of a kind."""
        return next(record for record in reversed(self.records) if record.kind is kind)

"""The adoption port over a dictionary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from meshca.authority.adoption import MAX_AGENTS, Adoption, standing
from meshca.errors import Unavailable


class FakeAdoption:
    """Implements `meshca.authority.adoption.AdoptionStore`; `down` makes it unreachable."""

    def __init__(self) -> None:
        self.latest: dict[tuple[str, ...], Adoption] = {}
        self.down = False

    def record(self, adoption: Adoption) -> None:
        """Keep it unless a later one is known."""
        key = adoption.row
        if key not in self.latest or self.latest[key].seen_at <= adoption.seen_at:
            self.latest[key] = adoption
        crowd = [key for key, one in self.latest.items() if _crowd(one) == _crowd(adoption)]
        crowd.sort(key=lambda key: (self.latest[key].connected, self.latest[key].seen_at))
        for key in crowd[:-MAX_AGENTS]:
            del self.latest[key]

    def disconnected(self, worker: str, stream: str) -> None:
        """Mark what the stream recorded."""
        for key, adoption in self.latest.items():
            if (adoption.worker, adoption.stream) == (worker, stream):
                self.latest[key] = replace(adoption, connected=False)

    async def list(self) -> Sequence[Adoption]:
        """All of them."""
        if self.down:
            raise Unavailable("store", "the fake is down")
        return standing(self.latest[key] for key in sorted(self.latest))


def _crowd(one: Adoption) -> tuple[str, ...]:
    return str(one.agent), one.pod, one.pod_uid, one.kind.value

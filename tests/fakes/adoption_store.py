"""The adoption port over a dictionary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from meshca.authority.adoption import MAX_AGENTS, Adoption
from meshca.errors import Unavailable


class FakeAdoption:
    """Implements `meshca.authority.adoption.AdoptionStore`; `down` makes it unreachable."""

    def __init__(self) -> None:
        self.latest: dict[tuple[str, str, str], Adoption] = {}
        self.down = False

    def record(self, adoption: Adoption) -> None:
        """Keep it unless a later one is known."""
        key = (str(adoption.agent), adoption.node_id, adoption.kind.value)
        if key not in self.latest or self.latest[key].seen_at <= adoption.seen_at:
            self.latest[key] = adoption
        crowd = [key for key in self.latest if (key[0], key[2]) == (str(adoption.agent), adoption.kind.value)]
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
        return [self.latest[key] for key in sorted(self.latest)]

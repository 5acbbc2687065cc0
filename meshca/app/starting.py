"""What `/readyz` says from the first moment on: before there are workers to ask, what the start waits for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from meshca.rotation.driver import Rotation
from meshca.web.pages import Readiness


class Starting:
    """Stands before the workers' own answer until they serve.

    Args:
        rotation: knows why there is nothing to sign with yet.
        readiness: the answer once the workers serve.

    Attributes:
        over: whether they do.
    """

    def __init__(self, rotation: Rotation, readiness: Callable[[], Awaitable[Readiness]]) -> None:
        self._rotation = rotation
        self._readiness = readiness
        self.over = False

    async def readiness(self) -> Readiness:
        """Not ready, and why, until the workers serve."""
        if self.over:
            return await self._readiness()
        error = self._rotation.progress.error
        waits_for = "the workers" if error is None else error.detail
        return Readiness(ready=False, detail={"waits_for": waits_for, "workers": []})

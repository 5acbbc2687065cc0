"""Launches workers: the first ones early, so that they import their libraries while the parent does.

Imports almost nothing itself, for the same reason.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from meshca.app import metrics_dir
from meshca.app.process import Launched, LeafAnswers, WorkerProcess, launch


class Spawning:
    """Where a supervisor's workers come from.

    Args:
        metrics_folder: where all processes share their metrics; made before anything imported `meshca.metrics`.

    Attributes:
        leaves: who signs them for workers that are spawned from now on.
    """

    leaves: LeafAnswers | None = None

    def __init__(self, metrics_folder: Path) -> None:
        self.metrics_folder = metrics_folder
        self._early: dict[str, Launched] = {}

    @contextlib.contextmanager
    def early(self, count: int) -> Iterator[None]:
        """Launch this many now; those that nobody has asked for at the end of the block are ended."""
        try:
            for number in range(count):
                name = f"w{number}"
                self._early[name] = self._launch(name)
            yield
        finally:
            while self._early:
                self._early.popitem()[1].discard()

    async def spawn(self, name: str) -> WorkerProcess:
        """A worker of this name, not yet briefed.

        Raises:
            OSError: no process or descriptor can be had now.
        """
        launched = self._early.pop(name) if name in self._early else self._launch(name)
        return await WorkerProcess.adopt(name, launched, self.leaves)

    def _launch(self, name: str) -> Launched:
        return launch(metrics_dir.environment(self.metrics_folder, name))

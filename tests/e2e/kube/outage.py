"""An API server that goes and comes back, on the same port and over the same data."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.e2e.kube.control_plane import STOP_SECONDS, ControlPlane, running_control_plane, wait_until_ready


class Outage:
    """Ends the API server of a control plane, and starts it again."""

    def __init__(self, plane: ControlPlane) -> None:
        self.plane = plane
        self._process = next(each for each in plane.processes if "kube-apiserver" in each.args)  # type: ignore[operator] # a list of ours
        self._running = True

    def begin(self) -> None:
        """Kill it; every watch is cut."""
        self._process.kill()
        self._process.wait(STOP_SECONDS)
        self._running = False

    def end(self) -> None:
        """Start it again, and return once it is ready."""
        folder = self.plane.folder
        with (folder / "kube-apiserver.log").open("ab") as log:
            self._process = subprocess.Popen(self._process.args, cwd=folder, stdout=log, stderr=log)
        self._running = True
        wait_until_ready(f"{self.plane.server}/readyz", folder, [self._process])

    def close(self) -> None:
        """End the one that was started last."""
        if self._running:
            self._process.kill()
            self._process.wait(STOP_SECONDS)


@contextlib.contextmanager
def interruptible(folder: Path) -> Iterator[Outage]:
    """A control plane of its own whose API server can be interrupted."""
    folder.mkdir(exist_ok=True)
    with running_control_plane(folder) as plane:
        outage = Outage(plane)
        try:
            yield outage
        finally:
            outage.close()

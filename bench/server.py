"""A development CA as its own processes, with limits out of the way and everything else as shipped."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from meshca.app.dev_issuer import DevIssuer
from meshca.clock import SystemClock

# A benchmark is one caller that is everybody: the limits per identity and namespace must not decide.
ENVIRONMENT = {
    "MESHCA__LIMITS__PER_IDENTITY": "{rate: 1000000, burst: 1000000}",
    "MESHCA__LIMITS__PER_NAMESPACE": "{rate: 1000000, burst: 1000000}",
}
START_SECONDS = 60.0
NOTHING: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ca:
    """A running CA.

    Attributes:
        pid: of the parent.
        started: monotonic time at which the process was started.
    """

    directory: Path
    pid: int
    started: float

    @property
    def endpoint(self) -> str:
        """host:port of the token port."""
        return (self.directory / "endpoint").read_text().strip()

    @property
    def endpoint_mtls(self) -> str:
        """host:port of the mTLS port."""
        return (self.directory / "endpoint-mtls").read_text().strip()

    @property
    def root(self) -> bytes:
        """PEM of the root."""
        return (self.directory / "root.pem").read_bytes()

    @property
    def issuer(self) -> DevIssuer:
        """The issuer whose tokens this CA accepts."""
        return DevIssuer.open(self.directory, SystemClock())


@contextlib.contextmanager
def running_ca(directory: Path, environment: Mapping[str, str] = NOTHING) -> Iterator[Ca]:
    """Start `meshca dev up` in a new folder and stop it at the end.

    More settings may come by the environment. The issuer signs with RS256, as Kubernetes' API server does by
    default.
    """
    DevIssuer.create(directory, SystemClock(), algorithm="RS256")
    command = [sys.executable, "-m", "meshca", "dev", "up", "--dir", str(directory)]
    command += ["--port", "0", "--mtls-port", "0", "--http-port", "0"]
    started = time.monotonic()
    with (directory / "server.log").open("wb") as log:
        process = subprocess.Popen(
            command, env=os.environ | ENVIRONMENT | dict(environment), stdout=log, stderr=log
        )
        try:
            await_file(directory / "ready", process)
            yield Ca(directory=directory, pid=process.pid, started=started)
        finally:
            process.terminate()
            process.wait(timeout=30)


def await_file(path: Path, process: subprocess.Popen[bytes]) -> None:
    """Wait until a file exists, or fail when its maker ends first."""
    give_up = time.monotonic() + START_SECONDS
    while not path.exists():
        if process.poll() is not None or time.monotonic() > give_up:
            message = f"{path.name} did not appear; see {path.parent}/*.log"
            raise RuntimeError(message)
        time.sleep(0.005)

"""Starts a real Envoy from a bootstrap, knows when it is ready, and ends it.

For `meshca demo` and the tests. Ends only the process that it started, by its own handle, and always: an Envoy
left behind would keep ports and serve an old identity.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp

from meshca.clock import Clock
from meshca.errors import Unavailable

_POLL_SECONDS = 0.02
_STOP_SECONDS = 5.0  # Envoy ends within milliseconds of SIGTERM; after this long it is killed
_TAIL_BYTES = 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvoyProcess:
    """An Envoy that runs.

    Attributes:
        name: what its files and messages are called.
        folder: holds `<name>.json` (bootstrap), `<name>.log`, `<name>.access.log` and `<name>.admin`.
    """

    name: str
    folder: Path
    process: asyncio.subprocess.Process
    clock: Clock

    @property
    def pid(self) -> int:
        """The process id, which the agent sees as its peer."""
        return self.process.pid

    @property
    def access_log(self) -> Path:
        """What Envoy writes to standard output: one JSON line a request."""
        return self.folder / f"{self.name}.access.log"

    async def get(self, path: str) -> tuple[int, str]:
        """Status and text of a page of the administration interface.

        Raises:
            Unavailable: reason `envoy_admin`, when it does not answer.
        """
        try:
            return await self._get(path)
        except (OSError, aiohttp.ClientError):
            raise Unavailable("envoy_admin", f"the administration page of {self.name} does not answer") from None

    async def answering(self, within: float = 20.0) -> None:
        """Return when the administration page answers, ready or not.

        Raises:
            Unavailable: reason `envoy_exited` or `envoy_not_ready`, with the end of its log.
        """
        await self._until(lambda status: status > 0, within)

    async def ready(self, within: float = 20.0) -> None:
        """Return when Envoy has its secrets and listens (`/ready` says 200).

        Raises:
            Unavailable: reason `envoy_exited` or `envoy_not_ready`, with the end of its log.
        """
        await self._until(lambda status: status == 200, within)

    async def ports(self) -> dict[str, int]:
        """The port of each listener that is open, by the listener's name."""
        _, text = await self.get("/listeners?format=json")
        found = json.loads(text).get("listener_statuses", [])
        return {item["name"]: item["local_address"]["socket_address"]["port_value"] for item in found}

    async def stats(self, pattern: str) -> dict[str, int | str]:
        """Counters, gauges and texts whose name matches a regular expression."""
        _, text = await self.get(f"/stats?format=json&filter={quote(pattern)}")
        return {item["name"]: item["value"] for item in json.loads(text)["stats"] if "name" in item}

    def log_tail(self) -> str:
        """The end of what Envoy logged."""
        path = self.folder / f"{self.name}.log"
        if not path.exists():
            return ""
        return path.read_bytes()[-_TAIL_BYTES:].decode(errors="replace")

    async def stop(self) -> None:
        """End it, by force when it does not listen; returns when it is gone."""
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.terminate()
        try:
            await asyncio.wait_for(self.process.wait(), _STOP_SECONDS)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
            await self.process.wait()

    async def _until(self, good: Any, within: float) -> None:  # noqa: ANN401 - a predicate on the status
        deadline = self.clock.monotonic() + within
        while not good(await self._status()):
            if self.process.returncode is not None:
                raise Unavailable(
                    "envoy_exited", f"{self.name} ended with {self.process.returncode}: {self._why()}"
                )
            if self.clock.monotonic() > deadline:
                raise Unavailable(
                    "envoy_not_ready", f"{self.name} is not ready after {within:.0f} s: {self._why()}"
                )
            await self.clock.sleep(_POLL_SECONDS)

    async def _status(self) -> int:
        """The status of /ready, 0 while nobody answers."""
        try:
            status, _ = await self._get("/ready")
        except (OSError, aiohttp.ClientError):
            return 0
        return status

    async def _get(self, path: str) -> tuple[int, str]:
        place = (self.folder / f"{self.name}.admin").read_text(encoding="utf-8").strip()
        connector = aiohttp.UnixConnector(place) if place.startswith("/") else aiohttp.TCPConnector()
        host = "envoy" if place.startswith("/") else place
        timeout = aiohttp.ClientTimeout(total=5)
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
            session.get(f"http://{host}{path}") as answer,
        ):
            return answer.status, await answer.text()

    def _why(self) -> str:
        return self.log_tail() or "its log is empty"


async def start(  # noqa: PLR0913 - each is a choice of the one who starts it
    binary: Path,
    bootstrap: Mapping[str, Any],
    folder: Path,
    *,
    clock: Clock,
    name: str = "envoy",
    log_level: str = "warning",
) -> EnvoyProcess:
    """Start an Envoy; it is not yet ready.

    Args:
        binary: the Envoy to run.
        bootstrap: its configuration; must have an administration address.
        folder: existing folder for its files.
        clock: for waiting.
        name: of its files and messages.
        log_level: Envoy's own log level.

    Raises:
        Unavailable: reason `envoy_start`, when the binary cannot be run.
    """
    files = {kind: folder / f"{name}.{kind}" for kind in ("json", "log", "access.log", "admin")}
    files["json"].write_text(json.dumps(bootstrap), encoding="utf-8")
    files["admin"].unlink(missing_ok=True)
    with files["log"].open("wb") as log, files["access.log"].open("wb") as access_log:
        try:
            process = await asyncio.create_subprocess_exec(
                binary,
                *("-c", files["json"], "--admin-address-path", files["admin"]),
                *("--disable-hot-restart", "--concurrency", "1"),
                *("--log-level", log_level, "--file-flush-interval-msec", "100"),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=access_log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for us; we end Envoy in our own order
            )
        except OSError as error:
            raise Unavailable("envoy_start", f"{binary} cannot be run: {error.strerror}") from None
    return EnvoyProcess(name=name, folder=folder, process=process, clock=clock)


@contextlib.asynccontextmanager
async def running(
    binary: Path,
    bootstrap: Mapping[str, Any],
    folder: Path,
    *,
    clock: Clock,
    name: str = "envoy",
) -> AsyncIterator[EnvoyProcess]:
    """An Envoy whose administration page answers; gone afterwards, whatever happens.

    Raises:
        Unavailable: as `start` and `EnvoyProcess.answering`.
    """
    envoy = await start(binary, bootstrap, folder, clock=clock, name=name)
    try:
        await envoy.answering()
        yield envoy
    finally:
        await envoy.stop()

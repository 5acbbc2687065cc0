"""A real server that is killed and started again over one folder, on the same ports, and asked what it knows.

ca = LiveCa(folder, settings)
await ca.start()
states = await ca.states()

It has a folder with a short name: the administrator's socket is in it, and is found again after a restart.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from meshca.app.admin_client import AdminClient, connect
from meshca.authority.history import Change, Kind
from meshca.authority.lifecycle import State
from meshca.errors import Unavailable
from meshca.rotation.report import RootReport
from tests.real.dev_server import MESHCA, Server, launched_server

T = TypeVar("T")
SECONDS = 90.0  # longest wait for anything; the machine may be busy with other tests
PAUSE = 0.05
BELOW_EPHEMERAL = range(20_000, 32_000)  # ports that the kernel gives to no connection (ip_local_port_range)
SETTINGS = {"MESHCA__WORKERS": "1", "MESHCA__ROTATION__SETTLE": "1s", "MESHCA__SERVING__DRAIN_TIMEOUT": "2s"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What became of a command."""

    code: int
    out: str
    err: str

    @property
    def value(self) -> Any:
        """What it printed last with `--output json`; one that waits prints a document for each change before."""
        said, rest = None, self.out.strip()
        while rest:
            said, end = json.JSONDecoder().raw_decode(rest)
            rest = rest[end:].lstrip()
        return said


class LiveCa:
    """`meshca dev up` over one folder, again and again.

    Args:
        folder: of the CA.
        settings: more environment, such as MESHCA__SVID__DEFAULT_LIFETIME.
    """

    def __init__(self, folder: Path, settings: Mapping[str, str]) -> None:
        self.folder = folder
        (folder.parent / "tmp").mkdir(exist_ok=True)  # what a killed server leaves there goes with the test
        self.settings = {**SETTINGS, "TMPDIR": str(folder.parent / "tmp"), **settings}
        self._ports = _free_ports()
        self._life = contextlib.ExitStack()
        self.server: Server

    @property
    def socket(self) -> Path:
        """The administrator's."""
        return self.folder / "admin.sock"

    async def launch(self, through: Sequence[str] = ()) -> Server:
        """Start a process that may not serve yet."""
        token, mtls = map(str, self._ports)
        life = launched_server(
            self.folder, "--port", token, "--mtls-port", mtls, settings=self.settings, through=through
        )
        (self.folder / "ready").unlink(missing_ok=True)  # what a killed one left
        self.server = self._life.enter_context(life)
        return self.server

    async def start(self) -> Server:
        """Start a process; it serves when this returns."""
        server = await self.launch()
        await asyncio.to_thread(server.wait_until_it_serves)
        return server

    async def kill(self) -> None:
        """End the parent by SIGKILL; its workers end by themselves before this returns."""
        left = children(self.server.process.pid)
        self.server.process.kill()
        await self.gone(left)

    async def gone(self, left: Sequence[int] = ()) -> None:
        """Wait until the process that was launched last, and these, have ended."""
        await asyncio.to_thread(self.server.process.wait, SECONDS)
        await until(lambda: not any(map(runs, left)), "a worker outlives its parent")
        self._life.close()

    async def stop(self) -> None:
        """End it in peace."""
        await asyncio.to_thread(self._life.close)

    async def ask(self, question: Callable[[AdminClient], Awaitable[T]]) -> T:
        """The answer of the server that runs."""
        async with connect(self.socket) as client:
            return await question(client)

    async def report(self) -> RootReport:
        """How the roots stand."""
        return await self.ask(lambda client: client.roots.report())

    async def history(self) -> list[Change]:
        """What was done, oldest first."""
        return list(reversed(await self.ask(lambda client: client.roots.changes(limit=10_000))))

    async def states(self) -> list[State]:
        """Of all roots, oldest first."""
        records = await self.ask(lambda client: client.roots.records())
        return [one.state for one in records if one.kind is Kind.ROOT]

    async def ids(self) -> list[str]:
        """Of all roots, oldest first."""
        return [one.id for one in await self.ask(lambda client: client.roots.records())]

    async def reaches(self, *states: State) -> None:
        """Wait until the roots stand so, oldest first; the server may be starting meanwhile."""

        async def reached() -> bool:
            with contextlib.suppress(Unavailable):
                return tuple(await self.states()) == states
            return False

        await until(reached, f"the roots do not become {', '.join(states)}")

    async def finishes(self, *states: State) -> None:
        """Wait until the roots stand so and no rotation is under way."""
        await self.reaches(*states)
        assert (await self.report()).plan is None

    async def run(self, *arguments: str, json_: bool = True) -> Ran:
        """`meshca <arguments>` against the server that runs."""
        command = [*MESHCA, *arguments, "--socket", str(self.socket), *(("-o", "json") if json_ else ())]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MESHCA")}
        found = await asyncio.to_thread(
            subprocess.run, command, check=False, capture_output=True, text=True, env=environment
        )
        return Ran(code=found.returncode, out=found.stdout, err=found.stderr)


@contextlib.asynccontextmanager
async def live_ca(folder: Path, settings: Mapping[str, str]) -> AsyncIterator[LiveCa]:
    """One that serves; always ended."""
    ca = LiveCa(folder / "ca", settings)
    try:
        await ca.start()
        yield ca
    finally:
        await ca.stop()


async def until(condition: Callable[[], bool | Awaitable[bool]], otherwise: str, seconds: float = SECONDS) -> None:
    """Return once a condition holds; fail after so many seconds.

    Args:
        condition: asked again and again.
        otherwise: what is said when it does not come to hold.
        seconds: a limit for what has hung, not a measure.
    """
    try:
        async with asyncio.timeout(seconds):
            while True:
                found = condition()
                if found if isinstance(found, bool) else await found:
                    return
                await asyncio.sleep(PAUSE)
    except TimeoutError:
        raise AssertionError(otherwise) from None


def children(pid: int) -> list[int]:
    """The processes that a process has started and not waited for."""
    found: list[int] = []
    for task in _tasks(pid):
        with contextlib.suppress(OSError):
            found += map(int, (task / "children").read_text().split())
    return found


def runs(pid: int) -> bool:
    """Whether a process has not ended; one that nobody has waited for has."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] not in {"Z", "X"}


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    """A process takes no step inside the block."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def _tasks(pid: int) -> list[Path]:
    try:
        return list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return []


def _free_ports() -> tuple[int, int]:
    """Two that nobody has now."""
    found: list[int] = []
    while len(found) < 2:
        port = random.SystemRandom().choice(BELOW_EPHEMERAL)
        with socket.socket() as tried, contextlib.suppress(OSError):
            tried.bind(("127.0.0.1", port))
            found.append(port)
    return found[0], found[1]

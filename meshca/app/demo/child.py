"""Starts commands of ours as processes, reads the end of their logs, and ends them.

Ends only what it started, by its own handle. Every process is a leader of its own group, so that Ctrl-C reaches
the demo alone, which then ends all of them in its own order.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from meshca.clock import Clock
from meshca.errors import Unavailable

STOP_SECONDS = 8.0  # the CA drains within its own, shorter, deadline; after this long a process is killed
_KILLED_SECONDS = 1.0  # how long the kernel, and whoever waits for orphans, may take to clear up
_COMMAND_SECONDS = 60.0
_POLL_SECONDS = 0.05
_TAIL_BYTES = 8000


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A command of ours that runs.

    Attributes:
        name: what messages call it.
        log: everything that it writes.
    """

    name: str
    process: asyncio.subprocess.Process
    log: Path
    clock: Clock

    def tail(self) -> str:
        """The end of what it wrote."""
        return self.log.read_bytes()[-_TAIL_BYTES:].decode(errors="replace") if self.log.exists() else ""

    async def writes(self, path: Path, within: float) -> None:
        """Return when it has made a file, a socket or a folder.

        Raises:
            Unavailable: reason `demo_process`, when it ends first or takes too long.
        """
        deadline = self.clock.monotonic() + within
        while not path.exists():  # noqa: ASYNC240 - one stat of a local file
            if self.process.returncode is not None:
                raise Unavailable("demo_process", f"{self.name} ended with {self.process.returncode}")
            if self.clock.monotonic() > deadline:
                raise Unavailable("demo_process", f"{self.name} did not make {path.name} in {within:.0f} s")
            await self.clock.sleep(_POLL_SECONDS)

    async def stop(self) -> None:
        """End it and what it has started, by force when they do not listen; returns when all are gone."""
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.terminate()
        await self._gone(STOP_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        await self.process.wait()
        await self._gone(_KILLED_SECONDS)

    async def _gone(self, within: float) -> None:
        """Wait for the whole group: a server that is ended while it starts leaves workers for moments."""
        deadline = self.clock.monotonic() + within
        while _runs(self.process.pid) and self.clock.monotonic() < deadline:
            await self.clock.sleep(_POLL_SECONDS)


@contextlib.asynccontextmanager
async def running(
    name: str, arguments: Sequence[str], log: Path, settings: Mapping[str, str], *, clock: Clock
) -> AsyncIterator[Child]:
    """`meshca <arguments>` as a process; gone afterwards, whatever happens.

    Args:
        name: what messages call it.
        arguments: of the command line.
        log: where its output goes.
        settings: environment variables besides the ordinary ones.
        clock: for waiting.
    """
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *_command(arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment(settings),
            start_new_session=True,
        )
    child = Child(name=name, process=process, log=log, clock=clock)
    try:
        yield child
    finally:
        await child.stop()


async def output_of(name: str, arguments: Sequence[str]) -> str:
    """What `meshca <arguments>` prints, a command that ends by itself.

    Raises:
        Unavailable: reason `demo_process`, when it fails, with what it says.
    """
    process = await asyncio.create_subprocess_exec(
        *_command(arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment({}),
        start_new_session=True,
    )
    try:
        output, errors = await asyncio.wait_for(process.communicate(), _COMMAND_SECONDS)
    except TimeoutError:
        raise Unavailable("demo_process", f"{name} did not end within {_COMMAND_SECONDS:.0f} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise Unavailable("demo_process", f"{name} failed: {errors.decode(errors='replace').strip()}")
    return output.decode()


def _runs(leader: int) -> bool:
    """Whether a process of the group is left."""
    try:
        os.killpg(leader, 0)
    except ProcessLookupError:
        return False
    return True


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Our own environment without anyone's settings of meshca, and with these."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MESHCA")}
    return {**inherited, **settings}


def _command(arguments: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "meshca", *arguments]

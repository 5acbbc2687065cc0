"""One worker process as its parent sees it: started, spoken to, asked for a probe, ended.

A worker is always a fresh interpreter, never a fork: gRPC's threads and OpenSSL's randomness do not survive one.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from typing import Final

from meshca.app.control import Channel, Drain, Failed, Message, Probe, Probed, Ready

# -P: the current folder's files are no modules of ours
COMMAND: Final = (sys.executable, "-P", "-m", "meshca.app.worker")
EXIT_SECONDS: Final = 2.0  # for a drained worker to close its store and end


class WorkerProcess:
    """A running worker.

    Attributes:
        name: of its place: log field, metrics file, serial prefix.
        pid: its process id.
        ready: set once both of its ports answer.
        ended: set once the process is gone.
        failure: why it could not start, in its own words; empty if it did not say.
    """

    def __init__(self, name: str, process: asyncio.subprocess.Process, channel: Channel) -> None:
        self.name = name
        self.pid = process.pid
        self.ready = asyncio.Event()
        self.ended = asyncio.Event()
        self.failure = ""
        self._process = process
        self._channel = channel
        self._ids = itertools.count(1)
        self._probes: dict[int, asyncio.Future[Probed]] = {}
        self._tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._wait())]

    @classmethod
    async def start(
        cls, name: str, environment: Mapping[str, str], command: Sequence[str] = COMMAND
    ) -> WorkerProcess:
        """Start an interpreter that waits for its briefing on the control channel.

        Args:
            name: of its place.
            environment: all of its environment variables.
            command: what to run; the number of the channel's file descriptor is added.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *command,
                str(theirs.fileno()),
                pass_fds=[theirs.fileno()],
                stdin=asyncio.subprocess.DEVNULL,
                env=environment,
            )
        return cls(name, process, await Channel.over(ours))

    @property
    def exit_status(self) -> str:
        """How the process ended, for people."""
        code = self._process.returncode
        if code is None:
            return "running"
        return f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"

    async def tell(self, *messages: Message) -> None:
        """Send messages; to a worker that is gone they are lost, like the worker."""
        await self._channel.send(*messages)

    async def probe(self, seconds: float) -> Probed:
        """Ask it to prove that it works; an answer that does not come in time is a failed probe."""
        number = next(self._ids)
        answer = self._probes[number] = asyncio.get_running_loop().create_future()
        try:
            await self.tell(Probe(id=number))
            return await asyncio.wait_for(answer, seconds)
        except TimeoutError:
            return Probed(id=number, ok=False, detail=f"no answer within {seconds:g} s")
        finally:
            del self._probes[number]

    async def drain(self, seconds: float) -> None:
        """Let it finish what is in flight, then see it gone; past the deadline it is killed."""
        await self.tell(Drain(seconds=seconds))
        try:
            await asyncio.wait_for(self.ended.wait(), seconds + EXIT_SECONDS)
        except TimeoutError:
            await self.kill()

    async def kill(self) -> None:
        """End it at once and see it gone."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self.ended.wait()

    async def _wait(self) -> None:
        await self._process.wait()
        await self._tasks[0]  # its last words are still in the channel
        await self._channel.close()
        for answer in self._probes.values():
            if not answer.done():
                answer.set_result(Probed(id=0, ok=False, detail=f"ended ({self.exit_status})"))
        self.ended.set()

    async def _listen(self) -> None:
        async for message in self._channel.messages():
            match message:
                case Ready():
                    self.ready.set()
                case Failed(detail=detail):
                    self.failure = detail
                case Probed(id=number) if number in self._probes and not self._probes[number].done():
                    self._probes[number].set_result(message)
                case _:
                    pass  # a late answer to a probe

"""One worker process as its parent sees it: launched, spoken to, asked for a probe, ended.

A worker is always a fresh interpreter, never a fork: gRPC's threads and OpenSSL's randomness do not survive one.
It can be launched before the parent has an event loop, so that both import their libraries at the same time.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from meshca.app.control import Channel, Drain, Failed, Message, Probe, Probed, Ready
from meshca.app.leaf_messages import AskLeaf, DropLeaf, GaveLeaf, JudgedLeaf
from meshca.log import log

# -P: the current folder's files are no modules of ours
COMMAND: Final = (sys.executable, "-P", "-m", "meshca.app.worker")
EXIT_SECONDS: Final = 2.0  # for a drained worker to close its store and end
TELL_SECONDS: Final = 2.0  # for a worker that serves to take what it is told


@dataclass(frozen=True, slots=True)
class LeafAnswers:
    """Who signs leaves for workers.

    Attributes:
        give: has one signed.
        note: is told what a worker found one to be.
    """

    give: Callable[[AskLeaf], Awaitable[GaveLeaf]]
    note: Callable[[JudgedLeaf], None]


@dataclass(frozen=True, slots=True)
class Launched:
    """A process that waits for its briefing on a control channel that nobody reads yet."""

    process: subprocess.Popen[bytes]
    channel: socket.socket

    def discard(self) -> None:
        """End it; nobody will brief it."""
        self.channel.close()
        self.process.kill()
        self.process.wait()


def launch(environment: Mapping[str, str], command: Sequence[str] = COMMAND) -> Launched:
    """Start an interpreter that waits for its briefing.

    Args:
        environment: all of its environment variables.
        command: what to run; the number of the channel's file descriptor is added.

    Raises:
        OSError: no process or descriptor can be had now.
    """
    ours, theirs = socket.socketpair()
    with theirs:
        try:
            process = subprocess.Popen(  # noqa: S603 - our own module
                [*command, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=environment,
            )
        except OSError:
            ours.close()
            raise
    return Launched(process, ours)


class WorkerProcess:
    """A running worker.

    Attributes:
        name: of its place: log field, metrics file, serial prefix.
        pid: its process id.
        ready: set once both of its ports answer.
        ended: set once the process is gone.
        failure: why it could not start, in its own words; empty if it did not say.
    """

    def __init__(
        self,
        name: str,
        process: subprocess.Popen[bytes],
        exit_fd: int,
        channel: Channel,
        leaves: LeafAnswers | None = None,
    ) -> None:
        self.name = name
        self.pid = process.pid
        self.ready = asyncio.Event()
        self.ended = asyncio.Event()
        self.failure = ""
        self._process = process
        self._channel = channel
        self._draining = False
        self._ids = itertools.count(1)
        self._probes: dict[int, asyncio.Future[Probed]] = {}
        self._leaves = leaves
        self._asked: dict[int, asyncio.Task[None]] = {}  # by the question
        self._tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._wait(exit_fd))]

    @classmethod
    async def adopt(cls, name: str, launched: Launched, leaves: LeafAnswers | None = None) -> WorkerProcess:
        """Speak to a launched process from now on.

        Args:
            name: of its place.
            launched: the process.
            leaves: who signs them for it; None where workers do.

        Raises:
            OSError: no descriptor can be had now; the process is gone.
        """
        try:
            exit_fd = os.pidfd_open(launched.process.pid)  # Linux 5.3
        except OSError:
            launched.discard()
            raise
        return cls(name, launched.process, exit_fd, await Channel.over(launched.channel), leaves)

    @property
    def exit_status(self) -> str:
        """How the process ended, for people."""
        code = self._process.returncode
        if code is None:
            return "running"
        return f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"

    async def tell(self, *messages: Message) -> None:
        """Send messages; to a worker that is gone they are lost, like the worker.

        One that serves must take them within `TELL_SECONDS`, or it is ended as hung; one that still starts takes
        them when it can, and nobody waits for it. One that drains reads nothing any more, and is told nothing.
        """
        if self._draining:
            return
        self._channel.post(*messages)
        if not self.ready.is_set():
            return
        try:
            await asyncio.wait_for(self._channel.taken(), TELL_SECONDS)
        except TimeoutError:
            self.end_hung(f"did not take news within {TELL_SECONDS:g} s")

    def end_hung(self, detail: str) -> None:
        """End it at once because it does nothing any more, and wait for nobody: its keeper sees it go."""
        log.error("worker.hung", worker=self.name, pid=self.pid, detail=detail)
        self._process.kill()

    async def probe(self, seconds: float) -> Probed:
        """Ask it to prove that it works; an answer that does not come in time is a failed probe."""
        number = next(self._ids)
        answer = self._probes[number] = asyncio.get_running_loop().create_future()
        try:
            self._channel.post(Probe(id=number))
            return await asyncio.wait_for(answer, seconds)
        except TimeoutError:
            return Probed(id=number, ok=False, detail=f"no answer within {seconds:g} s", answered=False)
        finally:
            del self._probes[number]

    async def drain(self, seconds: float, *, replaced: bool = False) -> None:
        """Let it finish what is in flight, then see it gone; past the deadline it is killed."""
        self._channel.post(Drain(seconds=seconds, replaced=replaced))
        self._draining = True
        try:
            await asyncio.wait_for(self.ended.wait(), seconds + EXIT_SECONDS)
        except TimeoutError:
            await self.kill()

    async def kill(self) -> None:
        """End it at once and see it gone."""
        self._process.kill()  # does nothing to a process that was waited for
        await self.ended.wait()

    def _answer(self, question: AskLeaf, leaves: LeafAnswers) -> None:
        """Answer beside the messages, also to a worker that drains: it waits for what is in flight."""

        async def give() -> None:
            self._channel.post(await leaves.give(question))

        task = self._asked[question.id] = asyncio.create_task(give())
        task.add_done_callback(lambda _: self._asked.pop(question.id))

    async def _wait(self, exit_fd: int) -> None:
        await _exited(exit_fd)
        self._process.wait()
        await self._tasks[0]  # its last words are still in the channel
        await self._channel.close()
        for task in self._asked.values():
            task.cancel()
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
                case AskLeaf() if self._leaves is not None:
                    self._answer(message, self._leaves)
                case JudgedLeaf() if self._leaves is not None:
                    self._leaves.note(message)
                case DropLeaf(id=number) if number in self._asked:
                    self._asked[number].cancel()
                case Probed(id=number) if number in self._probes and not self._probes[number].done():
                    self._probes[number].set_result(message)
                case _:
                    pass  # a late answer to a probe, or a leaf taken back that was given meanwhile


async def _exited(descriptor: int) -> None:
    """Return once a child has exited; it is still to be waited for, so its number cannot be another's."""
    exited = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(descriptor, exited.set)
    try:
        await exited.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)

"""The gate's hold on a peer's process, whose end it must notice, and what it does without descriptors."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from meshca.clock import SystemClock
from meshca.errors import Unauthenticated
from meshca.wire import peercred
from meshca.wire.peercred import Peer, open_gate
from meshca.wire.splice import Splice
from tests.fakes.clock import FakeClock
from tests.fakes.logs import captured_logs
from tests.wire.gate_serving import LOOPS, Loop, descriptors, run, serving, who_am_i

HANDS_ON_ITS_SOCKET = """
import os, socket, sys
connection = socket.socket(socket.AF_UNIX)
connection.connect(sys.argv[1])
connection.recv(1)
if os.fork():
    os._exit(0)
sys.stdin.read()
"""


def test_socket_of_an_exited_process_is_nobody(tmp_path: Path) -> None:
    """A process that inherited the connection is not the one whose pid the kernel told."""

    async def scenario() -> None:
        path, names, finished = tmp_path / "s", asyncio.Queue[str](), asyncio.Event()

        async def inner(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            names.put_nowait(writer.get_extra_info("peername"))
            writer.write(b"!")
            await reader.read()
            writer.close()
            finished.set()

        async with open_gate(path, allowed_uids=[os.getuid()], clock=SystemClock()) as gate:
            server = await asyncio.start_unix_server(inner, gate.inner_address.removeprefix("unix:"))
            accepting = asyncio.create_task(gate.run())
            child = await asyncio.create_subprocess_exec(
                sys.executable, "-c", HANDS_ON_ITS_SOCKET, str(path), stdin=subprocess.PIPE
            )
            name = await names.get()
            assert gate.peer_of(f"unix:{name}").pid == child.pid
            await child.wait()
            with pytest.raises(Unauthenticated) as refusal:
                gate.peer_of(f"unix:{name}")
            assert refusal.value.reason == "peer_gone"
            assert child.stdin is not None
            child.stdin.close()  # ends the heir
            await finished.wait()
            accepting.cancel()
            server.close()

    run(asyncio.new_event_loop, scenario())


@pytest.mark.parametrize("option", [peercred._SO_PEERPIDFD, 9999], ids=["from the socket", "from the pid"])
def test_process_handle_is_of_the_peer(monkeypatch: pytest.MonkeyPatch, option: int) -> None:
    """Also on kernels that have no SO_PEERPIDFD."""
    monkeypatch.setattr(peercred, "_SO_PEERPIDFD", option)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        handle = peercred._pidfd(theirs, Peer(pid=os.getpid(), uid=0, gid=0))
    assert handle is not None
    assert f"Pid:\t{os.getpid()}\n" in Path(f"/proc/self/fdinfo/{handle}").read_text()
    os.close(handle)


@pytest.mark.parametrize("failing", ["getsockopt", "pidfd_open"])
def test_process_that_has_exited_has_no_handle(monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    """Whichever way asks for it."""

    class Socket:
        def getsockopt(self, *_: int) -> int:
            raise OSError(errno.ESRCH if failing == "getsockopt" else errno.ENOPROTOOPT, "")

    monkeypatch.setattr(os, "pidfd_open", _raise(ProcessLookupError(errno.ESRCH, "")))
    with pytest.raises(ProcessLookupError):
        peercred._pidfd(cast("socket.socket", Socket()), Peer(pid=1, uid=0, gid=0))


def test_process_that_cannot_be_handled_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pid of a foreign namespace shows as 0; an old kernel knows no pidfd."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert peercred._pidfd(theirs, Peer(pid=0, uid=0, gid=0)) is None
        monkeypatch.setattr(peercred, "_SO_PEERPIDFD", 9999)
        monkeypatch.setattr(os, "pidfd_open", _raise(OSError(errno.ENOSYS, "no such call")))
        assert peercred._pidfd(theirs, Peer(pid=1, uid=0, gid=0)) is None


def _raise(error: Exception) -> Callable[..., object]:
    def fail(*_: object) -> object:
        raise error

    return fail


def test_peer_that_is_gone_already_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have exited between connecting and being accepted."""
    monkeypatch.setattr(peercred, "_pidfd", _raise(ProcessLookupError()))

    async def scenario() -> None:
        async with serving(tmp_path / "s"):
            reader, writer = await asyncio.open_unix_connection(str(tmp_path / "s"))
            assert await reader.read() == b""
            writer.close()

    run(asyncio.new_event_loop, scenario())


async def test_accepting_goes_on_after_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Out of descriptors: logged, a pause of the clock, then the next try."""
    clock, answers = FakeClock(), [OSError(errno.EMFILE, "too many open files"), asyncio.CancelledError()]

    async def accept(_listener: object) -> object:
        raise answers.pop(0)

    monkeypatch.setattr(asyncio.get_running_loop(), "sock_accept", accept)
    async with open_gate(tmp_path / "s", allowed_uids=[0], clock=clock) as gate:
        with captured_logs() as logs:
            accepting = asyncio.create_task(gate.run())
            await clock.advance(1)
            with pytest.raises(asyncio.CancelledError):
                await accepting
    assert [entry["event"] for entry in logs] == ["peer.accept_failed"]
    assert answers == []


@LOOPS
@pytest.mark.parametrize("failing", ["splice", "handle"])
def test_one_connection_without_a_descriptor(
    loop: Loop, failing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is closed, with what it held; the next one is served."""
    real, errors = socket.socket, [OSError(errno.EMFILE, "too many open files")]

    def fails_once(make: Callable[..., Any]) -> Callable[..., Any]:
        def made(*arguments: Any) -> Any:
            if errors:
                raise errors.pop()
            return make(*arguments)

        return made

    async def scenario() -> None:
        async with serving(tmp_path / "s"):
            await who_am_i(tmp_path / "s")
            before = descriptors()
            if failing == "splice":
                monkeypatch.setattr(peercred, "Splice", fails_once(Splice))
            else:
                monkeypatch.setattr(peercred, "_pidfd", fails_once(peercred._pidfd))
            with captured_logs() as logs, real(socket.AF_UNIX) as first:
                first.setblocking(False)
                await asyncio.get_running_loop().sock_connect(first, str(tmp_path / "s"))
                assert await asyncio.get_running_loop().sock_recv(first, 1) == b""
            assert [line["event"] for line in logs if line["event"] != "peer.connected"] == ["peer.not_admitted"]
            assert await who_am_i(tmp_path / "s") == f"{os.getpid()} {os.getuid()} {os.getgid()}"
            while descriptors() > before:  # noqa: ASYNC110 - the end of a connection has no event
                await asyncio.sleep(0)

    run(loop, scenario())


@pytest.mark.parametrize("failing", ["getsockopt", "pidfd_open"])
def test_no_room_for_a_handle_is_no_permission(monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    """A peer whose end nobody would notice is not let in."""

    class Socket:
        def getsockopt(self, *_: int) -> int:
            raise OSError(errno.EMFILE if failing == "getsockopt" else errno.ENOPROTOOPT, "")

    monkeypatch.setattr(os, "pidfd_open", _raise(OSError(errno.EMFILE, "")))
    with pytest.raises(OSError, match="24"):
        peercred._pidfd(cast("socket.socket", Socket()), Peer(pid=1, uid=0, gid=0))


async def test_connections_fit_the_limit_of_open_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the administrator allows few, fewer are let in, and the rest of the process keeps its own."""
    for limit, most in ((1024, 192), (524_288, peercred.MAX_CONNECTIONS)):
        monkeypatch.setattr(peercred, "raise_limit", lambda limit=limit: limit)
        async with open_gate(tmp_path / "s", allowed_uids=[0], clock=SystemClock()) as gate:
            assert gate._most == most

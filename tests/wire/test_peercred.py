"""The gate in front of gRPC's socket, under both event loops."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
import uvloop

from meshca.clock import SystemClock
from meshca.errors import ConfigError, Unauthenticated
from meshca.wire import peercred
from meshca.wire.peercred import Peer, PeerGate, open_gate
from meshca.wire.splice import Splice
from tests.fakes.clock import FakeClock
from tests.fakes.logs import captured_logs

LOOPS = pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
Loop = Callable[[], asyncio.AbstractEventLoop]
CLIENT = """
import grpc, sys
with grpc.insecure_channel("unix:" + sys.argv[1]) as channel:
    print(channel.unary_unary("/test/WhoAmI")(b"", timeout=10).decode())
"""


def run(loop: Loop, scenario: Awaitable[None]) -> None:
    """Run on a loop of this kind."""

    async def limited() -> None:
        async with asyncio.timeout(20):
            await scenario

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(limited())


@contextlib.asynccontextmanager
async def serving(path: Path, uids: list[int] | None = None) -> AsyncIterator[PeerGate]:
    """A gate with a gRPC server behind it that says who is calling, and echoes streams."""
    server = grpc.aio.server()

    async def who_am_i(_request: bytes, context: Any) -> bytes:
        peer = gate.peer_of(context.peer())
        return f"{peer.pid} {peer.uid} {peer.gid}".encode()

    async def echo(_requests: object, context: Any) -> None:
        while (message := await context.read()) is not grpc.aio.EOF:
            await context.write(message)

    handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "WhoAmI": grpc.unary_unary_rpc_method_handler(who_am_i),
        "Echo": grpc.stream_stream_rpc_method_handler(echo),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test", handlers),))
    allowed = [os.getuid()] if uids is None else uids
    async with open_gate(path, allowed_uids=allowed, clock=SystemClock()) as gate:
        server.add_insecure_port(gate.inner_address)
        await server.start()
        accepting = asyncio.create_task(gate.run())
        try:
            yield gate
        finally:
            accepting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await accepting
            await server.stop(0)


async def who_am_i(path: Path) -> str:
    """Ask over a connection of its own."""
    async with grpc.aio.insecure_channel(f"unix:{path}") as channel:
        return await who_am_i_over(channel)


async def who_am_i_over(channel: grpc.aio.Channel) -> str:
    """Ask over this connection."""
    call: Any = channel.unary_unary("/test/WhoAmI")
    answer: bytes = await call(b"", timeout=10)
    return answer.decode()


def found(folder: Path, pattern: str) -> list[Path]:
    """What matches in a folder."""
    return list(folder.glob(pattern))


def descriptors() -> int:
    """How many file descriptors this process holds."""
    return len(list(Path("/proc/self/fd").iterdir()))


@LOOPS
def test_handler_learns_pid_uid_and_gid_of_each_client(loop: Loop, tmp_path: Path) -> None:
    """Two processes at once, each with its own."""

    async def scenario() -> None:
        path = tmp_path / "s"
        async with serving(path):
            other = await asyncio.create_subprocess_exec(
                sys.executable, "-c", CLIENT, str(path), stdout=subprocess.PIPE
            )
            mine, (theirs, _) = await asyncio.gather(who_am_i(path), other.communicate())
            assert mine == f"{os.getpid()} {os.getuid()} {os.getgid()}"
            assert theirs.decode().strip() == f"{other.pid} {os.getuid()} {os.getgid()}"

    run(loop, scenario())


@LOOPS
def test_large_messages_pass_both_ways(loop: Loop, tmp_path: Path) -> None:
    """Whole and in order, also when both sides are busy at once."""

    async def scenario() -> None:
        async with (
            serving(tmp_path / "s"),
            grpc.aio.insecure_channel(f"unix:{tmp_path}/s") as channel,
        ):
            call: Any = channel.stream_stream("/test/Echo")(timeout=15)
            sent = [bytes([number]) * 3_000_000 for number in range(5)]

            async def write() -> None:
                for message in sent:
                    await call.write(message)
                await call.done_writing()

            writing = asyncio.create_task(write())
            received = [await call.read() for _ in sent]
            await writing
            assert received == sent

    run(loop, scenario())


@LOOPS
def test_user_that_is_not_listed_is_refused_and_logged(loop: Loop, tmp_path: Path) -> None:
    """Not one byte of it reaches gRPC; the log names pid and uid."""

    async def scenario() -> None:
        async with serving(tmp_path / "s", uids=[os.getuid() + 1]):
            with captured_logs() as logs:
                reader, writer = await asyncio.open_unix_connection(str(tmp_path / "s"))
                assert await reader.read() == b""
                writer.close()
            (line,) = [entry for entry in logs if entry["event"] == "peer.refused"]
            assert (line["reason"], line["pid"], line["uid"]) == ("uid", os.getpid(), os.getuid())

    run(loop, scenario())


def test_connections_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more than the limit is refused; one that ends makes room."""
    monkeypatch.setattr(peercred, "MAX_CONNECTIONS", 1)

    async def scenario() -> None:
        path = tmp_path / "s"
        async with serving(path), grpc.aio.insecure_channel(f"unix:{path}") as first:
            await who_am_i_over(first)
            reader, writer = await asyncio.open_unix_connection(str(path))
            assert await reader.read() == b""
            writer.close()

    run(asyncio.new_event_loop, scenario())


def test_call_past_the_gate_is_unauthenticated(tmp_path: Path) -> None:
    """Who reaches gRPC's own socket without the gate is nobody."""

    async def scenario() -> None:
        async with serving(tmp_path / "s") as gate:
            for address in ("unix:", "unix:/elsewhere/conn-1", "ipv4:127.0.0.1:1"):
                with pytest.raises(Unauthenticated) as refusal:
                    gate.peer_of(address)
                assert refusal.value.reason == "unknown_peer"

    run(asyncio.new_event_loop, scenario())


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


@LOOPS
def test_nothing_is_left_behind(loop: Loop, tmp_path: Path) -> None:
    """Connections end with the gate, and its files go."""

    async def scenario() -> None:
        async with serving(tmp_path / "s"):
            reader, writer = await asyncio.open_unix_connection(str(tmp_path / "s"))
            await reader.read(1)
        while await reader.read(65536):
            pass
        writer.close()

    before = descriptors()
    run(loop, scenario())
    assert found(tmp_path, "*") == []
    assert descriptors() <= before + 4  # gRPC keeps those of its poller


@LOOPS
def test_connection_that_ends_frees_its_file(loop: Loop, tmp_path: Path) -> None:
    """The path of a finished connection is removed at once."""

    async def scenario() -> None:
        async with serving(tmp_path / "s"):
            await who_am_i(tmp_path / "s")
            while found(tmp_path, ".p-*/conn-*"):  # noqa: ASYNC110 - a file's end has no event
                await asyncio.sleep(0)

    run(loop, scenario())


def test_peer_is_told_when_nobody_serves(tmp_path: Path) -> None:
    """If gRPC does not listen, the connection is closed, not left hanging."""

    async def scenario() -> None:
        async with open_gate(tmp_path / "s", allowed_uids=[os.getuid()], clock=SystemClock()) as gate:
            accepting = asyncio.create_task(gate.run())
            reader, writer = await asyncio.open_unix_connection(str(tmp_path / "s"))
            assert await reader.read() == b""
            writer.close()
            accepting.cancel()

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


async def test_public_socket_has_the_asked_mode_and_the_private_folder_is_private(tmp_path: Path) -> None:
    """0660 by default; 0700 for the folder."""
    async with open_gate(tmp_path / "s", allowed_uids=[0], clock=SystemClock()):
        (private,) = found(tmp_path, ".p-*")
        assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o660
        assert stat.S_IMODE(private.stat().st_mode) == 0o700
    async with open_gate(tmp_path / "s", allowed_uids=[0], clock=SystemClock(), mode=0o600):
        assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o600


async def test_folder_that_is_too_long_or_missing_is_refused(tmp_path: Path) -> None:
    """With the path and what to do."""
    for path, says in ((tmp_path / ("x" * 80) / "s", "at most"), (tmp_path / "no" / "s", "let us write")):
        with pytest.raises(ConfigError) as refusal:
            async with open_gate(path, allowed_uids=[0], clock=SystemClock()):
                pass
        assert (refusal.value.source, says in str(refusal.value)) == (str(path), True)
    assert found(tmp_path, "*") == []

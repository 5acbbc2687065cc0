"""The gate in front of gRPC's socket, under both event loops."""

from __future__ import annotations

import asyncio
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import pytest

from meshca.clock import SystemClock
from meshca.errors import ConfigError, Unauthenticated
from meshca.wire import peercred
from meshca.wire.peercred import open_gate
from tests.fakes.logs import captured_logs
from tests.wire.gate_serving import LOOPS, Loop, descriptors, found, run, serving, who_am_i, who_am_i_over

CLIENT = """
import grpc, sys
with grpc.insecure_channel("unix:" + sys.argv[1]) as channel:
    print(channel.unary_unary("/test/WhoAmI")(b"", timeout=10).decode())
"""


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

"""Starting, breaking and ending an OpenBao: stand-in programs for what goes wrong, a real one for what works."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from meshca.app import openbao_process
from meshca.app.openbao_process import OpenBao, find_openbao, free_pair
from meshca.clock import SystemClock
from meshca.errors import Unavailable
from meshca.secret import Secret
from tests.fakes.hurried_clock import HurriedClock
from tests.real.openbao import own_openbao


def stand_in(folder: Path, text: str) -> OpenBao:
    """A shell script in place of OpenBao."""
    path = folder / "program"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return OpenBao(binary=path, folder=folder, port=free_pair(), clock=HurriedClock())


def gone(pid: int) -> bool:
    """Whether no process has this id."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


async def status(server: OpenBao) -> str:
    """What the server says of itself, in a word."""
    try:
        said = await server.call("GET", "sys/seal-status")
    except Unavailable:
        return "away"
    return "sealed" if said["sealed"] else "active"


@pytest.mark.real("openbao")
async def test_a_life(tmp_path: Path) -> None:
    """Active after its start, sealed, unsealed, killed, started again with what it knew; gone after the block."""
    async with own_openbao(tmp_path / "bao") as server:
        states = [await status(server)]
        await server.seal()
        states.append(await status(server))
        await server.unseal()
        states.append(await status(server))
        await server.kill()
        states.append(await status(server))
        await server.start()
        states.append(await status(server))
        await server.unseal()
        states.append(await status(server))
        assert "approle/" in (await server.call("GET", "sys/auth"))["data"]
        pid = server.pid
    assert states == ["active", "sealed", "active", "away", "sealed", "active"]
    assert gone(pid)


@pytest.mark.real("openbao")
async def test_a_refused_call(tmp_path: Path) -> None:
    """It says which, with what status and in what words."""
    async with own_openbao(tmp_path / "bao") as server:
        with pytest.raises(Unavailable, match=r"sys/mounts: 403 .*permission denied") as raised:
            await server.call("GET", "sys/mounts", token=Secret("nobody's"))
    assert raised.value.reason == "openbao_call"


async def test_a_program_that_ends(tmp_path: Path) -> None:
    """The end of its log says why."""
    with pytest.raises(Unavailable, match="it does not answer: no such storage") as raised:
        await stand_in(tmp_path, "echo no such storage; exit 1").start()
    assert raised.value.reason == "openbao_start"


async def test_a_program_that_never_answers(tmp_path: Path) -> None:
    """It is ended when half a minute has gone."""
    server = stand_in(tmp_path, f"echo $$ > {tmp_path}/pid; exec sleep 1000")
    with pytest.raises(Unavailable, match="it does not answer"):
        await server.start()
    assert not (tmp_path / "pid").exists() or gone(int((tmp_path / "pid").read_text()))


@pytest.mark.real("openbao")
async def test_one_that_does_not_listen_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is stopped cannot end by itself."""
    monkeypatch.setattr(openbao_process, "_STOP_SECONDS", 0.1)
    async with own_openbao(tmp_path / "bao") as server:
        pid = server.pid
        os.kill(pid, 19)  # SIGSTOP
    assert gone(pid)


def test_a_machine_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is found where its package is not installed, or holds no program."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    assert find_openbao() is None


async def test_its_ports_are_free(tmp_path: Path) -> None:
    """The one that is given, and the next."""
    port = free_pair()
    for one in (port, port + 1):
        server = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", one)
        server.close()
        await server.wait_closed()


async def test_ending_what_never_started(tmp_path: Path) -> None:
    """Is nothing."""
    server = OpenBao(binary=tmp_path, folder=tmp_path, port=1, clock=SystemClock())
    await server.stop()
    await server.kill()

"""`meshca agent` as a process: exit codes, signals, and what it imports."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from meshca.agent.main import main
from meshca.clock import SystemClock
from tests.fakes.agent_values import unsigned_token
from tests.fakes.ca import FakeCa, serving_ca

AGENT = (sys.executable, "-m", "meshca", "agent")


def test_wrong_usage_ends_with_2_and_every_problem(capsys: pytest.CaptureFixture[str]) -> None:
    """On standard error, without a traceback."""
    assert main(["--lifetime", "x"]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("error: meshca agent:\n  - ")
    assert shown.count("\n  - ") == 3


def test_a_configuration_that_cannot_work_ends_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A root file that is not there."""
    arguments = ["--endpoint", "127.0.0.1:1", "--root", str(tmp_path / "none"), "--state-dir", "off"]
    ended = subprocess.run(
        [*AGENT, *arguments, "--socket", str(tmp_path / "s")], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert "error: --root:" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_what_nobody_expected_ends_with_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one line of the log."""

    async def broken(_: object) -> None:
        raise RuntimeError("test")

    monkeypatch.setattr("meshca.agent.process.run", broken)
    monkeypatch.setattr("meshca.log.configure", lambda **_: None)
    assert main(["--endpoint", "127.0.0.1:1", "--system-roots"]) == 1


def test_the_agent_imports_no_library_of_the_server_or_the_command_line() -> None:
    """It runs beside every workload."""
    code = (
        "import sys, meshca.__main__, meshca.agent.main, meshca.agent.process; "
        "print([name for name in ('pydantic', 'sqlalchemy', 'typer', 'rich', 'starlette', 'uvicorn', 'aiohttp', "
        "'prometheus_client', 'yaml', 'jwt', 'uvloop') if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "[]"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_with_0_and_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    """Sockets are gone; the log is JSON, with constant events."""
    async with serving_ca(FakeCa(SystemClock())) as serving:
        (tmp_path / "root.pem").write_text(serving.ca.root.pem)
        (tmp_path / "token").write_text(unsigned_token("shop", "web"))
        arguments = ["--endpoint", str(serving.token), "--root", str(tmp_path / "root.pem")]
        arguments += ["--token-file", str(tmp_path / "token"), "--socket", str(tmp_path / "run" / "s")]
        arguments += ["--state-dir", str(tmp_path / "state"), "--readiness", "127.0.0.1:0"]
        agent = await asyncio.create_subprocess_exec(*AGENT, *arguments, stderr=asyncio.subprocess.PIPE)
        assert agent.stderr is not None
        events = []
        try:
            async with asyncio.timeout(30):
                while "certificate.received" not in events:
                    events.append(json.loads(await agent.stderr.readline())["event"])
                agent.send_signal(number)
                rest = (await agent.stderr.read()).splitlines()
                assert await agent.wait() == 0
        finally:
            if agent.returncode is None:
                agent.kill()
                await agent.wait()
    events += [json.loads(line)["event"] for line in rest]
    assert events[-1] == "agent.stopping"
    assert left(tmp_path / "run") == []


def left(folder: Path) -> list[Path]:
    """What is in a folder."""
    return list(folder.iterdir())


async def test_the_idle_agent_is_small(tmp_path: Path) -> None:
    """At most 65 MB resident: gRPC, cryptography and Envoy's messages are 56 of them."""
    async with serving_ca(FakeCa(SystemClock())) as serving:
        (tmp_path / "root.pem").write_text(serving.ca.root.pem)
        (tmp_path / "token").write_text(unsigned_token("shop", "web"))
        code = (
            "from meshca.agent.lean import import_asyncio_alone\n"
            "import_asyncio_alone()\n"
            "import asyncio, os, re, sys\n"
            "from meshca.agent.options import read_options\n"
            "from meshca.agent.process import Agent\n"
            "from meshca.backoff import Pace\n"
            "from meshca.agent.memory import give_back\n"
            "from meshca.clock import SystemClock\n"
            "async def main():\n"
            "    agent = Agent(read_options(sys.argv[1:], {}), Pace(clock=SystemClock()))\n"
            "    async with agent.open() as works:\n"
            "        tasks = [asyncio.create_task(work()) for work in works]\n"
            "        while not agent.holding.svid: await asyncio.sleep(0.01)\n"
            "        give_back()\n"
            "        print(re.search(r'VmRSS:\\s+(\\d+)', open('/proc/self/status').read())[1])\n"
            "        for task in tasks: task.cancel()\n"
            "asyncio.run(main())\n"
        )
        arguments = ["--endpoint", str(serving.token), "--root", str(tmp_path / "root.pem")]
        arguments += ["--token-file", str(tmp_path / "token"), "--socket", str(tmp_path / "s")]
        arguments += ["--state-dir", "off", "--readiness", "off"]
        agent = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            code,
            *arguments,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        shown, _ = await agent.communicate()
    assert int(shown) * 1024 / 1e6 <= 65

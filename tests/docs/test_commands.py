"""The commands in README.md and docs/operations are true: each is run as it stands there.

Relative paths mean the root of a checkout; commands run in a folder that looks like one, so that what they make is
gone afterwards.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from meshca.sidecar.binary import find_envoy
from tests.docs.console_blocks import Command, commands

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = ["README.md", *sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("docs/operations/*.md"))]
SEEN = ("README.md", "docs", "policies", "meshca")  # what commands may read of a checkout
REAL = {"docs/operations/vault.md": "openbao"}  # the real part that a page needs beside Envoy
PATIENCE = 120.0  # seconds until a background command must serve, and another must end


@pytest.fixture(name="checkout")
def _checkout(tmp_path: Path) -> Path:
    for name in SEEN:
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


@pytest.fixture(name="environ")
def _environ(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """`meshca`, `python` and `envoy` as a reader has them after `. .venv/bin/activate`."""
    programs = tmp_path_factory.mktemp("bin")
    envoy = find_envoy()
    if envoy is not None:
        (programs / "envoy").symlink_to(envoy)
    path = os.pathsep.join([str(Path(sys.executable).parent), str(programs), os.environ["PATH"]])
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MESHCA__")}
    return {**inherited, "PATH": path}


@pytest.mark.timeout(1200)  # a page may wait for certificates to end; each of its commands has its own patience
@pytest.mark.parametrize(
    "document", [pytest.param(one, marks=pytest.mark.real(REAL.get(one, "envoy"))) for one in DOCUMENTS]
)
def test_the_commands_of_a_document_do_what_it_says(
    document: str, checkout: Path, environ: Mapping[str, str]
) -> None:
    """Each succeeds, in order, and prints what the document shows."""
    with contextlib.ExitStack() as background:
        for command in commands((ROOT / document).read_text(encoding="utf-8")):
            if command.until:
                background.enter_context(serving(command, checkout, environ))
            else:
                run(command, checkout, environ)


def test_a_place_that_is_taken(tmp_path: Path) -> None:
    """Where something answers already nothing is started: later commands would speak to a stranger."""
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        place = f"127.0.0.1:{stranger.getsockname()[1]}"
        command = Command(text="touch started; sleep 60", until=place)
        with pytest.raises(AssertionError, match=f"{place} is taken"), serving(command, tmp_path, {}):
            pass
    assert list(tmp_path.iterdir()) == []


def run(command: Command, checkout: Path, environ: Mapping[str, str]) -> None:
    """Run a command to its end."""
    done = subprocess.run(
        shell(command),
        cwd=checkout,
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, f"{command.text}\n{done.stdout}\n{done.stderr}"
    assert command.missing(done.stdout) == "", f"{command.text}\n{done.stdout}\n{done.stderr}"


@contextlib.contextmanager
def serving(command: Command, checkout: Path, environ: Mapping[str, str]) -> Iterator[None]:
    """Run a command in the background, in a process group of its own, which is ended with the block."""
    assert not serves(command.until, checkout), f"{command.until} is taken; end what is there\n{command.text}"
    log = checkout / f"background-{len(list(checkout.glob('background-*')))}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            shell(command),
            cwd=checkout,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + PATIENCE
        while not serves(command.until, checkout):
            assert process.poll() is None, f"{command.text}\nended: {log.read_text()}"
            assert time.monotonic() < deadline, f"{command.text}\nis not ready: {log.read_text()}"
            time.sleep(0.05)
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def serves(place: str, checkout: Path) -> bool:
    """Whether a file exists, or a port of this machine answers."""
    host, colon, port = place.rpartition(":")
    if not colon:
        return (checkout / place).exists()
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError:
        return False
    return True


def shell(command: Command) -> list[str]:
    """A command for bash that stops at its first failure."""
    return ["bash", "-euo", "pipefail", "-c", command.text]

"""Signals in a server's first second, before it has loaded what handles them."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from meshca.app import metrics_dir
from tests.real.dev_server import MESHCA, wait_for

STARTS = """
import os, signal, sys, types
cli = types.ModuleType("meshca.cli.main")
def main():
    os.kill(os.getpid(), signal.SIGHUP)
    print("goes on")
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()
    finally:
        print("cleans up")
cli.main = main
sys.modules["meshca.cli.main"] = cli
from meshca.__main__ import main
main()
"""


@pytest.mark.parametrize("command", [["serve"], ["dev", "up"]], ids=" ".join)
def test_signals_while_libraries_load(command: list[str]) -> None:
    """SIGHUP changes nothing; SIGTERM ends the process the way an error would, with what that removes."""
    done = subprocess.run(
        [sys.executable, "-c", STARTS, *command], capture_output=True, text=True, timeout=20, check=False
    )
    assert (done.stdout, done.stderr, done.returncode) == ("goes on\ncleans up\n", "", 128 + signal.SIGTERM)


def test_stop_while_starting_leaves_nothing(tmp_path: Path) -> None:
    """No folder of metrics, and no word of Python's own."""
    with subprocess.Popen(
        [*MESHCA, "dev", "up", "--dir", str(tmp_path / "ca")], stderr=subprocess.PIPE, text=True
    ) as process:
        pattern = f"meshca-metrics-{process.pid}-*"
        wait_for(lambda: any(metrics_dir.MEMORY.glob(pattern)) or process.poll() is not None, 20)
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=30)
    assert process.returncode in {0, 128 + signal.SIGTERM}
    assert "Traceback" not in said
    assert list(metrics_dir.MEMORY.glob(pattern)) == []

"""Signals that reach a server's whole process group, as a terminal and `timeout` send them."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.real.dev_server import MESHCA, wait_for


@pytest.mark.parametrize("which", [signal.SIGTERM, signal.SIGINT])
def test_ends_politely(tmp_path: Path, which: signal.Signals) -> None:
    """Parent and workers that are all signalled end as if only the parent had been: exit code 0, no crash."""
    folder = tmp_path / "ca"
    environment = {**os.environ, "MESHCA__WORKERS": "2", "MESHCA__LOG__FORMAT": "json"}
    process = subprocess.Popen(
        [*MESHCA, "dev", "up", "--dir", str(folder)],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        wait_for(lambda: (folder / "ready").exists() or process.poll() is not None, 60)
        os.killpg(process.pid, which)
        _, log = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, log
    assert '"level":"error"' not in log
    assert not (folder / "ready").exists()

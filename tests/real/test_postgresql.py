"""The private PostgreSQL of a run: it ends with the run, also when that is killed."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.postgresql import OWNED, PREFIX, Cluster, running_cluster, sweep

pytestmark = pytest.mark.real("postgresql")
HOLDS_ONE = """
from tests.real.postgresql import running_cluster
with running_cluster() as cluster:
    print(cluster.folder, flush=True)
    input()
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that could be a cluster's."""
    made = Path(tempfile.mkdtemp(prefix=PREFIX))
    yield made
    shutil.rmtree(made, ignore_errors=True)


def test_one_of_a_killed_run_is_swept() -> None:
    """Server and folder."""
    command = [sys.executable, "-c", HOLDS_ONE]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        left = Cluster(Path(run.stdout.readline().strip()), 0)
        run.kill()
    assert left.runs()
    sweep()
    assert (left.runs(), left.folder.exists()) == (False, False)


def test_one_in_use_is_left() -> None:
    """Its owner lives."""
    with running_cluster() as cluster:
        sweep()
        assert cluster.execute("SELECT 1") == [(1,)]


def test_what_is_nobodys_cluster_is_left(folder: Path) -> None:
    """A folder that only has such a name, or is not ready yet."""
    sweep()
    assert folder.exists()


def test_a_process_that_is_no_server_of_it_goes_on(folder: Path) -> None:
    """A dead server's process id may be another's by now."""
    (folder / OWNED).touch()
    (folder / "data").mkdir()
    with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE) as other:
        (folder / "data" / "postmaster.pid").write_text(f"{other.pid}\n")
        sweep()
        assert (folder.exists(), other.poll()) == (False, None)
    assert other.returncode == 0

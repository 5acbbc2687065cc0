"""The private folder in which all processes of a server share their metrics.

It must exist, and the environment must name it, before `meshca.metrics` is first imported: prometheus_client
reads the environment at import.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

# The values of meshca.metrics.DIRECTORY_VARIABLE and PROCESS_VARIABLE, which cannot be imported before use.
DIRECTORY_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
PROCESS_VARIABLE = "MESHCA_PROCESS_NAME"


@contextlib.contextmanager
def metrics_directory() -> Iterator[Path]:
    """A fresh folder, mode 0700, named in this process's environment; gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="meshca-metrics-"))
    os.environ[DIRECTORY_VARIABLE] = str(folder)
    os.environ[PROCESS_VARIABLE] = "parent"
    try:
        yield folder
    finally:
        del os.environ[DIRECTORY_VARIABLE], os.environ[PROCESS_VARIABLE]
        shutil.rmtree(folder, ignore_errors=True)


def environment(folder: Path, process: str) -> dict[str, str]:
    """The environment of a worker: ours, with its own name for metrics."""
    return {**os.environ, DIRECTORY_VARIABLE: str(folder), PROCESS_VARIABLE: process}

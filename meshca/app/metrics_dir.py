"""The private folder in which all processes of a server share their metrics.

It must exist, and the environment must name it, before `meshca.metrics` is first imported: prometheus_client
reads the environment at import. It is in memory where that can be had: the files are mapped, and a mapped file
on a disk that fills up kills the process that writes to it. It must never remove the folder of a server that runs.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from meshca.errors import ConfigError

# The values of meshca.metrics.DIRECTORY_VARIABLE and PROCESS_VARIABLE, which cannot be imported before use.
DIRECTORY_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
PROCESS_VARIABLE = "MESHCA_PROCESS_NAME"

MEMORY: Final = Path("/dev/shm")  # noqa: S108 - a folder that only we can use is made in it
ROOM: Final = 4 * 1024 * 1024  # bytes that must be free at start; a process takes half a megabyte
_NAME: Final = re.compile(r"meshca-metrics-[0-9]+-[a-z0-9_]+")  # our process id, for people


@contextlib.contextmanager
def metrics_directory() -> Iterator[Path]:
    """A fresh folder, mode 0700, named in this process's environment; gone afterwards.

    The folders of servers that were killed are removed.

    Raises:
        ConfigError: there is room for it neither in memory nor among the temporary files.
    """
    with _fresh() as folder:
        os.environ[DIRECTORY_VARIABLE] = str(folder)
        os.environ[PROCESS_VARIABLE] = "parent"
        try:
            yield folder
        finally:
            del os.environ[DIRECTORY_VARIABLE], os.environ[PROCESS_VARIABLE]


def environment(folder: Path, process: str) -> dict[str, str]:
    """The environment of a worker: ours, with its own name for metrics."""
    return {**os.environ, DIRECTORY_VARIABLE: str(folder), PROCESS_VARIABLE: process}


@contextlib.contextmanager
def _fresh() -> Iterator[Path]:
    problems: list[str] = []
    for parent in (MEMORY, Path(tempfile.gettempdir())):
        _sweep(parent)
        # Named before it is made: wherever a signal ends us from here on, what removes it stands already.
        folder, descriptor = parent / f"meshca-metrics-{os.getpid()}-{secrets.token_hex(4)}", -1
        try:
            try:
                descriptor = _make(folder)
            except OSError as error:
                problems.append(f"{parent}: no room for {ROOM >> 20} MiB of metrics ({error.strerror}); make room")
                continue
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            if descriptor >= 0:
                os.close(descriptor)
        return
    raise ConfigError("metrics", problems)


def _make(folder: Path) -> int:
    """Make the folder, with room in it; gives the descriptor that holds its lock as long as this process lives.

    Raises:
        OSError: it cannot be made there; what was begun is the caller's to remove.
    """
    folder.mkdir(mode=0o700)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with tempfile.TemporaryFile(dir=folder) as trial:
            os.posix_fallocate(trial.fileno(), 0, ROOM)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _sweep(parent: Path) -> None:
    """Remove what killed servers of this user left; a lock says who lives, also across process id namespaces."""
    with contextlib.suppress(OSError):  # no such folder, or not for us to see
        for folder in parent.iterdir():
            if _NAME.fullmatch(folder.name):
                _remove_abandoned(folder)


def _remove_abandoned(folder: Path) -> None:
    with contextlib.suppress(OSError):  # it runs, is another's, or goes away just now
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if os.fstat(descriptor).st_uid == os.geteuid():
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
        finally:
            os.close(descriptor)

"""A spool file of one process: only ever longer, synced with each group, locked as long as the process lives.

Whoever can take the lock of a file knows that its process is gone, and may bring its records to the store.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from meshca import durable

SUFFIX: Final = ".jsonl"


class SpoolFile:
    """A file that this process writes; made with mode 0600.

    Args:
        path: must not exist.

    Raises:
        OSError: it cannot be made, or another process was quicker to take its lock.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._size = 0
        self._broken = False
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        self._descriptor = os.open(path, flags, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            durable.sync_folder(path.parent)
        except OSError:
            os.close(self._descriptor)
            raise

    def append(self, lines: bytes) -> None:
        """Add whole lines; durable when this returns, and nothing of them is there when it fails.

        Raises:
            OSError: a full or broken disk.
        """
        if self._broken:
            raise OSError(0, "an earlier write failed halfway")
        try:
            left = memoryview(lines)
            while left:
                left = left[os.write(self._descriptor, left) :]
            os.fsync(self._descriptor)
        except OSError:
            self._broken = True  # unless what is there of it can be taken back
            os.ftruncate(self._descriptor, self._size)
            self._broken = False
            raise
        self._size += len(lines)

    def close(self) -> None:
        """Give up the lock: what is still in it is anybody's to bring to the store."""
        os.close(self._descriptor)


@contextlib.contextmanager
def orphaned(path: Path) -> Iterator[bool]:
    """Whether a file's process is gone; then it is ours within the block.

    Raises:
        OSError: it cannot be opened; FileNotFoundError when another was quicker.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield os.fstat(descriptor).st_nlink > 0
    finally:
        os.close(descriptor)


def remove(path: Path) -> None:
    """Remove a file for good.

    Raises:
        OSError: as `os.unlink`.
    """
    path.unlink(missing_ok=True)
    durable.sync_folder(path.parent)


def set_aside(path: Path, suffix: str) -> None:
    """Keep a file for a person to look at, under a name that is not brought to the store again.

    Raises:
        OSError: as `os.rename`.
    """
    path.rename(path.with_suffix(suffix))
    durable.sync_folder(path.parent)

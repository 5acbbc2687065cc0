"""The data directory: private, and used by one server at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from meshca import durable
from meshca.errors import ConfigError

LOCK: Final = "lock"


@contextlib.contextmanager
def locked(data_dir: Path) -> Iterator[None]:
    """Make the directory (0700) if it is missing, and hold its lock; the kernel drops it with the process.

    Raises:
        ConfigError: it cannot be made, others may use it, or another server uses it.
    """
    durable.make_private_folder(data_dir)
    with alone_in(data_dir, "choose another data_dir"):
        yield


@contextlib.contextmanager
def alone_in(folder: Path, otherwise: str) -> Iterator[None]:
    """Hold the lock of a folder that exists.

    Args:
        folder: gets a file `lock`.
        otherwise: what to do instead of stopping the other one, for the message.

    Raises:
        ConfigError: the folder cannot be written, or another process holds its lock.
    """
    try:
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        problem = f"cannot be written ({error.strerror}); make it writable for this user"
        raise ConfigError(str(folder), [problem]) from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            problem = f"is used by another meshca that runs; stop that or {otherwise}"
            raise ConfigError(str(folder), [problem]) from None
        yield
    finally:
        os.close(descriptor)

"""Private files that are whole or not there: made 0600, replaced atomically, refused when others can read them.

What is written survives a crash once `replace` has returned (fsync of the file and of its folder). Contents
must never reach an error text: they are keys.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from pathlib import Path

from meshca.errors import ConfigError

LARGEST = 1024 * 1024  # bytes; a CA bundle of a whole company is a quarter of that
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def make_folder(path: Path) -> None:
    """Make a folder, and those above it that are missing, with mode 0700; one that is there stays as it is.

    Raises:
        ConfigError: it cannot be made, or is no folder.
    """
    try:
        for folder in (*reversed(path.parents), path):
            if not folder.is_dir():
                folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise ConfigError(str(path), [f"cannot be made or used as a folder ({error.strerror})"]) from None


def make_private_folder(path: Path) -> None:
    """As `make_folder`, and nobody else may use it.

    Raises:
        ConfigError: as `make_folder`, or group or others may use it.
    """
    make_folder(path)
    mode = path.stat().st_mode
    if mode & _OTHERS:
        problem = f"others may use this private folder (mode {stat.S_IMODE(mode):04o}); run: chmod 700 {path}"
        raise ConfigError(str(path), [problem])


def replace(path: Path, data: bytes) -> None:
    """Write a file of mode 0600 in place of the old one, if any; readers see the old or the new one whole.

    Raises:
        OSError: a full or read-only disk; the old file is still there and no half of the new one.
    """
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # makes it 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:  # interrupted or full: no half stays behind
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make what was created, renamed or removed in a folder survive a crash.

    Raises:
        OSError: as `os.fsync`.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read(path: Path) -> bytes:
    """What a file holds.

    Raises:
        ConfigError: it is missing, unreadable or larger than a mebibyte.
    """
    return _read(path)[0]


def read_private(path: Path) -> bytes:
    """What a file holds that only we may read.

    Raises:
        ConfigError: as `read`, or group or others have access.
    """
    data, mode = _read(path)
    if mode & _OTHERS:
        problem = f"others can read this private file (mode {stat.S_IMODE(mode):04o}); run: chmod 600 {path}"
        raise ConfigError(str(path), [problem])
    return data


def _read(path: Path) -> tuple[bytes, int]:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(LARGEST + 1)
    except OSError as error:
        problem = f"cannot be read ({error.strerror}); name a file that this user may read"
        raise ConfigError(str(path), [problem]) from None
    if len(data) > LARGEST:
        raise ConfigError(str(path), [f"is larger than {LARGEST} bytes"])
    return data, mode

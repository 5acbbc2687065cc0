"""Private files that are whole or not there: made 0600, replaced atomically, refused when others can read them.

What is written survives a crash once `replace` has returned (fsync of the file and of its folder). Contents
must never reach an error text: they are keys.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tempfile
from pathlib import Path
from typing import Final

from meshca.errors import ConfigError

NAME_A_FILE: Final = "name an existing file"
LARGEST: Final = 1024 * 1024  # bytes; a CA bundle of a whole company is a quarter of that
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
    """As `make_folder`, and nobody else may use it; one of ours that only its group may use is closed.

    The kubelet opens a volume's folders to the pod's fsGroup at each mount. What everybody may use is not closed:
    it may be a folder of the system that was named by mistake.

    Raises:
        ConfigError: as `make_folder`, or others may use it, or its group and it is not ours.
    """
    make_folder(path)
    found = path.stat()
    if _can_be_closed(found):
        try:
            path.chmod(0o700)
        except OSError as error:
            raise ConfigError(str(path), [unusable("kept private", error)]) from None
    _check_private(path, path.stat())


def _can_be_closed(found: os.stat_result) -> bool:
    """Whether group, and nobody else, may use a folder of ours."""
    return found.st_uid == os.geteuid() and bool(found.st_mode & stat.S_IRWXG) and not found.st_mode & stat.S_IRWXO


def _check_private(path: Path, found: os.stat_result) -> None:
    if found.st_mode & _OTHERS:
        mode = stat.S_IMODE(found.st_mode)
        problem = f"others may use this private folder (mode {mode:04o}); run: chmod 700 {path}"
        raise ConfigError(str(path), [problem])


def check_folder(path: Path) -> None:
    """Refuse what making a folder, or making files in it, would fail at; nothing is made.

    Raises:
        ConfigError: it could not be made, or is there and not writable.
    """
    there = path.absolute()
    try:
        while not there.exists():
            there = there.parent
    except OSError as error:
        raise ConfigError(str(path), [unusable("made or used as a folder", error)]) from None
    if not is_folder(there):
        raise ConfigError(str(path), [f"cannot be made or used as a folder ({there} is none)"])
    if not os.access(there, os.W_OK | os.X_OK, effective_ids=True):
        problem = f"cannot be written; make {there} writable for this user (uid {os.geteuid()})"
        raise ConfigError(str(path), [problem])


def check_private_folder(path: Path) -> None:
    """As `check_folder`, and nobody else may use it, or `make_private_folder` would close it.

    Raises:
        ConfigError: as `check_folder` and `make_private_folder`.
    """
    check_folder(path)
    if path.exists() and not _can_be_closed(found := path.stat()):
        _check_private(path, found)


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


def read(path: Path, missing: str = "") -> bytes:
    """What a file holds.

    Args:
        path: of a regular file.
        missing: what to do when it is not there, for the message.

    Raises:
        ConfigError: it is missing, unreadable, no regular file or larger than a mebibyte.
    """
    return _read(path, missing)[0]


def read_private(path: Path, missing: str = "") -> bytes:
    """What a file holds that only we may read.

    Raises:
        ConfigError: as `read`, or group or others have access.
    """
    data, mode = _read(path, missing)
    if mode & _OTHERS:
        problem = f"others can read this private file (mode {stat.S_IMODE(mode):04o}); run: chmod 600 {path}"
        raise ConfigError(str(path), [problem])
    return data


def read_text(path: Path) -> str:
    """The text that an operator wrote into a file that he named: configuration, rules, policies.

    Raises:
        ConfigError: as `read`, or it is not UTF-8.
    """
    try:
        return read(path, NAME_A_FILE).decode("utf-8")
    except UnicodeDecodeError:
        raise ConfigError(str(path), ["is not UTF-8 text"]) from None


def is_folder(path: Path) -> bool:
    """Whether a folder is there, as far as we may see."""
    try:
        return path.is_dir()
    except OSError:
        return False


def unusable(deed: str, error: OSError, missing: str = "") -> str:
    """One line on a file or folder: what cannot be done with it, why, and what to do if we know.

    Args:
        deed: such as `read`.
        error: that it ended in.
        missing: what to do when it is not there.
    """
    todo = ""
    if error.errno in {errno.ENOENT, errno.ENOTDIR}:
        todo = missing
    elif error.errno in {errno.EACCES, errno.EPERM}:
        todo = f"give it, and the folders above it, to this user (uid {os.geteuid()}) with chown or chmod"
    return f"cannot be {deed} ({error.strerror})" + (f"; {todo}" if todo else "")


def _read(path: Path, missing: str) -> tuple[bytes, int]:
    try:
        with open(path, "rb", opener=_open_regular) as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(LARGEST + 1)
    except IsADirectoryError:
        raise ConfigError(str(path), ["is no regular file"]) from None
    except OSError as error:
        raise ConfigError(str(path), [unusable("read", error, missing)]) from None
    if len(data) > LARGEST:
        raise ConfigError(str(path), [f"is larger than {LARGEST} bytes"])
    return data, mode


def _open_regular(path: str, flags: int) -> int:
    """Open a file, at once even if it is a named pipe, and refuse whatever is no file as a folder is refused."""
    descriptor = os.open(path, flags | os.O_NONBLOCK)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise IsADirectoryError

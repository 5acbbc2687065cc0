"""Puts a listening Unix socket at a path: never over a live one, never with other permissions than asked for.

It must never remove what it did not make.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

from meshca.errors import ConfigError

MAX_PATH = 107  # bytes; sun_path of unix(7) without its final NUL


@contextlib.contextmanager
def listening(path: Path, private: Path, *, mode: int, backlog: int) -> Iterator[socket.socket]:
    """A non-blocking listener at `path`; a stale socket file is replaced, ours is removed at the end.

    It is bound in a private folder and moved into place, so that no other permissions are ever seen.

    Args:
        path: the public path.
        private: a folder of ours on the same file system.
        mode: permissions of the socket.
        backlog: connections that may wait to be accepted.

    Raises:
        ConfigError: the path cannot be bound.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    with contextlib.closing(listener):
        hidden = private / "public"
        try:
            listener.bind(str(hidden))
            hidden.chmod(mode)
            listener.listen(backlog)
            made = hidden.lstat()
            hidden.rename(path)
        except OSError as error:
            raise ConfigError(str(path), [f"cannot listen here ({error.strerror})"]) from error
        try:
            yield listener
        finally:
            _remove(path, made)


def check_free(path: Path) -> None:
    """Refuse a path that is in use.

    Raises:
        ConfigError: another process listens there, it cannot be told, or the file is not a socket.
    """
    try:
        status = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(status.st_mode):
        raise ConfigError(str(path), ["expected a free path or an old socket, found another file; remove it"])
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):  # left behind by a process that was killed
            return
        except OSError as error:
            problem = f"cannot tell whether this socket is in use ({error.strerror}); remove it if it is not"
            raise ConfigError(str(path), [problem]) from error
    raise ConfigError(str(path), ["another process is listening on this socket; stop it or use another path"])


def _remove(path: Path, made: os.stat_result) -> None:
    """Unless somebody has put another one there."""
    with contextlib.suppress(FileNotFoundError):
        if os.path.samestat(path.lstat(), made):
            path.unlink()

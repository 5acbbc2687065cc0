"""The private folders beside public Unix sockets: makes one, and removes those that killed processes left.

It must never remove one that is in use: only a folder of ours whose inner socket refuses connections is stale.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import tempfile
from pathlib import Path
from typing import Final

from meshca.errors import ConfigError
from meshca.wire.unix_socket import MAX_PATH

INNER: Final = "grpc"
"""Name of gRPC's own socket in the folder."""
_PREFIX: Final = ".p-"
_NAME: Final = re.compile(r"\.p-[a-z0-9_]{8}")  # as mkdtemp makes them
_LONGEST: Final = len("/.p-12345678/conn-1234567890")


def make(path: Path) -> Path:
    """A new folder, mode 0700, beside a socket.

    Raises:
        ConfigError: it cannot be made, or the names of sockets in it would be too long.
    """
    longest = MAX_PATH - _LONGEST
    if len(os.fsencode(path.parent)) > longest:
        raise ConfigError(
            str(path), [f"the folder of a Unix socket may have at most {longest} bytes; use a shorter"]
        )
    try:
        return Path(tempfile.mkdtemp(prefix=_PREFIX, dir=path.parent))  # mode 0700, as mkdtemp documents
    except OSError as error:
        problem = f"cannot make a folder beside the socket ({error.strerror}); make {path.parent} and let us write"
        raise ConfigError(str(path), [problem]) from error


def sweep(parent: Path) -> None:
    """Remove the stale ones of this user; what cannot be told or removed stays."""
    with contextlib.suppress(OSError):  # a folder that we may write to but not list
        for folder in parent.iterdir():
            if _NAME.fullmatch(folder.name) and _is_stale(folder):
                shutil.rmtree(folder, ignore_errors=True)


def _is_stale(folder: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        try:
            if folder.lstat().st_uid != os.geteuid():
                return False
            probe.connect(str(folder / INNER))
        except ConnectionRefusedError:
            return True
        except OSError:  # none there (yet), or it is busy
            return False
    return False

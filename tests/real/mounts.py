"""File systems of our own, to be full or read-only: needs a mount namespace, which some machines do not give."""

from __future__ import annotations

import functools
import shutil
import subprocess
from pathlib import Path

# As root, or as root of a user namespace of our own.
_WAYS = (("unshare", "--mount"), ("unshare", "--map-root-user", "--mount"))


@functools.cache
def find_mounts() -> tuple[str, ...] | None:
    """A command that runs what follows it where it may mount, or None."""
    for way in _WAYS:
        if shutil.which(way[0]) is None:
            continue
        tried = subprocess.run([*way, "mount", "-t", "tmpfs", "none", "/mnt"], check=False, capture_output=True)
        if tried.returncode == 0:
            return way
    return None


def on_small_disk(folder: Path, kilobytes: int, command: list[str]) -> list[str]:
    """A command line that runs a command with a small file system of its own at a folder."""
    return _on_disk(folder, f"size={kilobytes}k,mode=0700", command)


def on_read_only_disk(folder: Path, command: list[str]) -> list[str]:
    """A command line that runs a command with an empty, read-only file system of its own at a folder."""
    return _on_disk(folder, "ro,mode=0700", command)


def _on_disk(folder: Path, options: str, command: list[str]) -> list[str]:
    way = find_mounts()
    assert way is not None
    mount = f'mount -t tmpfs -o {options} none "$0" && exec "$@"'
    return [*way, "sh", "-c", mount, str(folder), *command]

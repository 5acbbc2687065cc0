"""What the agent keeps over a restart: the roots that it learnt and the last good policies. Never a key.

Files are 0600 in a folder of 0700 and replaced atomically. A file that does not read back as what we write
counts as absent: the agent then starts as on its first day.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from meshca import durable
from meshca.errors import ConfigError
from meshca.log import log

LARGEST = 8 * 1024 * 1024  # bytes


class State:
    """A folder of small named records, each a mapping of strings.

    Raises:
        ConfigError: the folder cannot be made or is not ours to write.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.chmod(0o700)
        except OSError as error:
            problem = f"cannot use {folder} ({error.strerror}); name a folder that the agent may write"
            raise ConfigError("--state-dir", [problem]) from None

    def load(self, name: str) -> Mapping[str, str] | None:
        """The record of this name; None when it is absent or not readable as one."""
        path = self._folder / f"{name}.json"
        try:
            with path.open("rb") as file:
                record = json.loads(file.read(LARGEST))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError) as error:
            log.warning("state.unreadable", path=str(path), error=type(error).__name__)
            return None
        if isinstance(record, dict) and all(isinstance(value, str) for value in record.values()):
            return record
        log.warning("state.unreadable", path=str(path), error="not an object of strings")
        return None

    def save(self, name: str, record: Mapping[str, str]) -> None:
        """Replace the record of this name; on a full or read-only disk the old one stays and we go on."""
        path = self._folder / f"{name}.json"
        try:
            durable.replace(path, json.dumps(dict(record)).encode())
        except OSError as error:
            log.error("state.not_saved", path=str(path), error=error.strerror)

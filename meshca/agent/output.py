"""Certificates as files for programs that cannot speak SDS, and for scripts.

The three files always belong together: each set is a folder of its own, and one rename of the `..data` link
makes it the current one (the way of Kubernetes' projected volumes). Keys are written only where the operator
asked for it, mode 0600.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from meshca import durable
from meshca.agent.bundle import Bundle
from meshca.agent.holding import Holding
from meshca.agent.svid import Svid
from meshca.clock import Clock
from meshca.errors import ConfigError
from meshca.log import log

KEY, CHAIN, ROOTS = "key.pem", "cert-chain.pem", "root-cert.pem"
_DATA = "..data"
_SET = "..set-"
_RETRY_SECONDS = 30.0  # after a disk refused a set


class FileOutput:
    """Keeps a folder's set equal to what the agent holds.

    Args:
        folder: where the sets go; made by `prepare_folder`.
        holding: what is written, each time it changes.
        clock: for the pause after a failure.
    """

    def __init__(self, folder: Path, holding: Holding, clock: Clock) -> None:
        self._folder = folder
        self._holding = holding
        self._clock = clock
        self._written: tuple[Svid, Bundle] | None = None

    async def run(self) -> NoReturn:
        """Write each new set."""
        changed = asyncio.Event()
        unwatch = self._holding.watch(changed.set)
        try:
            while True:
                await self._write_newest()
                await changed.wait()
                changed.clear()
        finally:
            unwatch()

    async def _write_newest(self) -> None:
        while (newest := self._newest()) is not None and newest != self._written:
            svid, bundle = newest
            try:
                await asyncio.to_thread(write_set, self._folder, contents(svid, bundle.pem))
            except OSError as error:
                log.error("output.not_written", folder=str(self._folder), error=error.strerror)
                await self._clock.sleep(_RETRY_SECONDS)
                continue
            self._written = newest
            log.info("output.written", folder=str(self._folder), serial=svid.serial, roots=bundle.version)

    def _newest(self) -> tuple[Svid, Bundle] | None:
        svid, bundle = self._holding.svid, self._holding.bundle
        if svid is None or bundle is None or not svid.valid(self._clock.now()):
            return None
        return svid, bundle


def contents(svid: Svid, roots: str) -> Mapping[str, bytes]:
    """The files of one set."""
    return {KEY: svid.private.reveal().encode(), CHAIN: svid.chain.encode(), ROOTS: roots.encode()}


def prepare_folder(folder: Path, option: str) -> None:
    """Make the folder that sets are written to.

    Raises:
        ConfigError: it cannot be made or written to.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(option, [f"cannot make the folder {folder} ({error.strerror}); name another"]) from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError(option, [f"cannot write to the folder {folder}; name another or change its owner"])


def write_set(folder: Path, files: Mapping[str, bytes]) -> None:
    """Make these files the current set of the folder, all at once.

    A reader that opens `folder/..data` as a folder once and reads from there sees one set. The set before is
    kept for readers that are in the midst of it; older ones are removed.

    Raises:
        OSError: the set before is still the current one.
    """
    current = str((folder / _DATA).readlink()) if (folder / _DATA).is_symlink() else ""
    number = int(current.removeprefix(_SET)) + 1 if current.removeprefix(_SET).isdigit() else 1
    fresh = folder / f"{_SET}{number}"
    shutil.rmtree(fresh, ignore_errors=True)  # left by a crash before its link was moved
    fresh.mkdir(mode=0o700)
    for name, content in files.items():
        durable.replace(fresh / name, content)
    _point(folder / _DATA, fresh.name)
    for name in files:
        if not (folder / name).is_symlink():
            _point(folder / name, f"{_DATA}/{name}")
    for old in folder.glob(f"{_SET}*"):
        if old.name not in {fresh.name, current}:
            shutil.rmtree(old, ignore_errors=True)


def write_plain(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write the files as they are, for scripts that take them elsewhere; each is replaced atomically.

    Raises:
        OSError: some files may have been replaced.
    """
    for name, content in files.items():
        durable.replace(folder / name, content)


def _point(link: Path, target: str) -> None:
    """Make a symbolic link, replacing what is there in one step."""
    temporary = link.with_name(f"{link.name}.new")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.replace(link)

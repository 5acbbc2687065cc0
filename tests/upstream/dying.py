"""Does one thing to copies of a data directory, each in a process that is killed (SIGKILL) at another point.

The points are all that the process does to files below the directory: Python tells of each before it happens
(`sys.addaudithook`), so none is left out and the product needs no hook. Run as a program, because only a process
with one thread can safely be forked: `python -m tests.upstream.dying DATA_DIR COPIES DEED [ARGUMENT]`. Copies are
named by the number of the point; the last one is that in which nobody was killed.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import NoReturn

from meshca.config.upstream import FilesConfig, SelfSignedConfig
from meshca.keystore.file import FileKeyStore
from meshca.upstream import files, self_signed
from meshca.upstream.files import Files
from meshca.upstream.self_signed import SelfSigned
from tests.fakes.clock import FakeClock
from tests.fakes.pki import DAY, NOW, TRUST_DOMAIN

CHANGES = frozenset({"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod"})
DUE = NOW + 16 * DAY  # in the second half of an intermediate's life


class Death:
    """An audit hook that ends the process at the point with this number."""

    def __init__(self, folder: Path, point: int) -> None:
        self._folder = str(folder)
        self._left = point

    def __call__(self, event: str, args: tuple[object, ...]) -> None:
        """Count what changes something; a path that is not absolute is below a folder that is being removed."""
        writes = event == "open" and isinstance(args[2], int) and bool(args[2] & (os.O_CREAT | os.O_WRONLY))
        if (event in CHANGES or writes) and str(args[0]).startswith(self._folder) >= str(args[0]).startswith("/"):
            self._left -= 1
            if not self._left:
                os.kill(os.getpid(), signal.SIGKILL)


async def first_start(folder: Path, _: str) -> None:
    """Begin with a root."""
    async with opened(folder):
        pass


async def make_root(folder: Path, same_key: str) -> None:
    """A further root."""
    async with opened(folder) as upstream:
        await upstream.make_root(same_key=same_key)


async def renew(folder: Path, root: str) -> None:
    """A new intermediate."""
    async with opened(folder, FakeClock(DUE)) as upstream:
        await upstream.obtain(root)


async def forget(folder: Path, keep: str) -> None:
    """Forget all roots but one."""
    async with opened(folder) as upstream:
        await upstream.forget({keep})


async def keep(folder: Path, ca: str) -> None:
    """Read a plugged-in CA, and keep it."""
    async with opened_files(folder, Path(ca)) as upstream:
        await upstream.lines()


async def forget_kept(folder: Path, argument: str) -> None:
    """Forget all plugged-in CAs but one."""
    ca, _, kept = argument.rpartition(":")
    async with opened_files(folder, Path(ca)) as upstream:
        await upstream.forget({kept})


Deed = Callable[[Path, str], Coroutine[None, None, None]]
DEEDS: dict[str, Deed] = {
    deed.__name__: deed for deed in (first_start, make_root, renew, forget, keep, forget_kept)
}


def opened(folder: Path, clock: FakeClock | None = None) -> AbstractAsyncContextManager[SelfSigned]:
    """A CA of our own over a data directory."""
    return self_signed.open_(
        SelfSignedConfig(),
        data_dir=folder,
        keys=FileKeyStore(folder / "keys"),
        trust_domain=TRUST_DOMAIN,
        clock=clock or FakeClock(),
    )


def opened_files(folder: Path, ca: Path) -> AbstractAsyncContextManager[Files]:
    """A plugged-in CA over a data directory."""
    config = FilesConfig(kind="files", dir=ca)
    return files.open_(config, data_dir=folder, trust_domain=TRUST_DOMAIN, clock=FakeClock())


def killed(data_dir: Path, copies: Path, deed: str, argument: str) -> list[Path]:
    """Copies of a data directory, in each of which a process was killed at another point."""
    copies.mkdir()
    command = [sys.executable, "-m", "tests.upstream.dying", str(data_dir), str(copies), deed, argument]
    subprocess.run(command, check=True)
    return sorted(copies.iterdir())


def die(deed: Deed, folder: Path, argument: str, point: int) -> NoReturn:
    """In a process of its own."""
    sys.addaudithook(Death(folder, point))
    asyncio.run(deed(folder, argument))
    os._exit(0)


def main(data_dir: Path, copies: Path, deed: str, argument: str = "") -> None:
    """One copy for each point, until one lives."""
    for point in range(1, 1000):
        copy = copies / f"{point:03}"
        shutil.copytree(data_dir, copy)
        child = os.fork()
        if not child:
            die(DEEDS[deed], copy, argument, point)
        _, status = os.waitpid(child, 0)
        if os.waitstatus_to_exitcode(status) == 0:
            return
        if os.waitstatus_to_exitcode(status) != -signal.SIGKILL:
            sys.exit(f"point {point}: ended with status {status}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])

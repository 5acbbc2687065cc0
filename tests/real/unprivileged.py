"""Processes that permissions bind: for root nothing is forbidden unless it gives its privileges up."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess

_WITHOUT = ("setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner,-chown")


@functools.cache
def find_unprivileged() -> tuple[str, ...] | None:
    """A command that runs what follows it bound by permissions, empty if we are; None if there is none."""
    if os.geteuid() != 0:
        return ()
    if shutil.which(_WITHOUT[0]) is None:
        return None
    tried = subprocess.run([*_WITHOUT, "true"], check=False, capture_output=True)
    return _WITHOUT if tried.returncode == 0 else None


def bound(*command: str) -> list[str]:
    """A command line that runs a command bound by permissions; for tests marked `real("unprivileged")`."""
    way = find_unprivileged()
    assert way is not None
    return [*way, *command]

"""Runs a program that kills itself (SIGKILL) right before or right after its first commit of a root's life.

As `through` of a server: `python -m tests.e2e.rotation.dying before|after <command line of the server>`. Only the
server's parent commits, so only it dies so; its workers end because it is gone.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
from collections.abc import Sequence
from typing import Final

from meshca.authority.history import Change, Lifecycle
from meshca.rotation.stepper import Stepper

BEFORE: Final = "before"
AFTER: Final = "after"


def through(when: str) -> tuple[str, ...]:
    """What a server is run through to die so."""
    return (sys.executable, "-m", "tests.e2e.rotation.dying", when)


def main(when: str, *command: str) -> None:
    """Be the command, `<python> -m <module> <arguments>`, until the first commit."""
    commit = Stepper.commit

    async def deadly(self: Stepper, kept: Lifecycle, changes: Sequence[Change]) -> Lifecycle:
        if when == AFTER:
            await commit(self, kept, changes)
        os.kill(os.getpid(), signal.SIGKILL)
        return kept

    Stepper.commit = deadly  # type: ignore[method-assign] # that it dies there is the purpose
    _, _, module, *arguments = command
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

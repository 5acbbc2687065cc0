"""Runs a program that kills itself (SIGKILL) right before or right after the first time that it does something.

As `through` of a server: `python -m tests.e2e.rotation.dying WHEN WHAT <command line of the server>`.
Only the server's parent commits or writes Secrets, so only it dies so; its workers end because it is gone.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
from typing import Any, Final

from meshca.kube.secrets import KubeSecrets
from meshca.store.lifecycle import SqlLifecycle

BEFORE: Final = "before"
AFTER: Final = "after"
COMMIT: Final = "commit"  # of a root's life
SECRET: Final = "secret"  # a write of one that holds a CA
DEEDS: Final = {COMMIT: (SqlLifecycle, ("commit",)), SECRET: (KubeSecrets, ("create", "replace"))}


def through(when: str, what: str = COMMIT) -> tuple[str, ...]:
    """What a server is run through to die so."""
    return (sys.executable, "-m", "tests.e2e.rotation.dying", when, what)


def make_deadly(kind: type, name: str, when: str) -> None:
    """Die at the first call of this method."""
    harmless = getattr(kind, name)

    async def deadly(*arguments: Any) -> None:
        if when == AFTER:
            await harmless(*arguments)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(kind, name, deadly)


def main(when: str, what: str, *command: str) -> None:
    """Be the command, `<python> -m <module> <arguments>`, until then."""
    kind, names = DEEDS[what]
    for name in names:
        make_deadly(kind, name, when)
    _, _, module, *arguments = command
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Lists `meshca agent` among the commands.

`__main__` starts the agent before this command line is loaded, since it must stay small; so nothing of the
command line may ever be needed there.
"""

from __future__ import annotations

import sys

import typer


def command() -> None:
    """Run beside a workload: get and renew its certificate, serve Envoy. `meshca agent --help` says more."""
    from meshca.agent.main import main

    raise typer.Exit(main(sys.argv[2:]))

"""The `meshca` command.

`meshca agent` is dispatched before the command line's libraries are imported: an agent runs beside every
workload and must stay small.
"""

from __future__ import annotations

import signal
import sys

TERMINATED = 128 + signal.SIGTERM  # the exit code that a shell shows for SIGTERM


def main() -> None:
    """Run the command line and exit with its code."""
    if sys.argv[1:2] == ["serve"] or sys.argv[1:3] == ["dev", "up"]:
        _obey_early_signals()
    if sys.argv[1:2] == ["agent"]:
        from meshca.agent.main import main as agent_main

        sys.exit(agent_main(sys.argv[2:]))
    from meshca.cli.main import main as cli_main

    cli_main()


def _obey_early_signals() -> None:
    """Until a server has handlers of its own: SIGHUP must not end it, SIGTERM must end it with nothing left.

    SIGHUP is handled, not ignored: what is ignored stays so in child processes.
    """
    signal.signal(signal.SIGHUP, lambda *_: None)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))


if __name__ == "__main__":
    main()

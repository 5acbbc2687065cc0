"""The `meshca` command.

`meshca agent` is dispatched before the command line's libraries are imported: an agent runs beside every
workload and must stay small.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and exit with its code."""
    if sys.argv[1:2] == ["agent"]:
        from meshca.agent.main import main as agent_main

        sys.exit(agent_main(sys.argv[2:]))
    from meshca.cli.main import main as cli_main

    cli_main()


if __name__ == "__main__":
    main()

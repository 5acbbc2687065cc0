"""The entry of `meshca agent`: options in, exit code out, no traceback to the user.

0  stopped by a signal
1  failed while running
2  wrong usage or configuration
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from meshca.agent.lean import import_asyncio_alone
from meshca.errors import ConfigError


def main(argv: Sequence[str]) -> int:
    """Run the agent with these arguments; the environment gives what they leave out."""
    # gRPC's core writes lines of its own to standard error, which is our log; it reads this when loaded.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    import_asyncio_alone()
    import asyncio

    from meshca.agent.options import read_options

    try:
        options = read_options(argv, os.environ)
        from meshca import log
        from meshca.agent.process import run

        log.configure(level=options.log_level, format_=options.log_format)
        asyncio.run(run(options))
    except ConfigError as error:
        sys.stderr.write(f"error: {error.source}:\n")
        sys.stderr.writelines(f"  - {problem}\n" for problem in error.problems)
        return 2
    except Exception as error:  # noqa: BLE001 - the outermost layer: one log line instead of a traceback
        from meshca.log import log as logger

        logger.error("agent.failed", exc_info=error)
        return 1
    return 0

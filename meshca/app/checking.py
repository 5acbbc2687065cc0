"""Whether a server could start from a configuration, found out without starting or changing anything."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

from meshca.app.loading import NO_ISSUERS, read_files
from meshca.app.upstreams import check_upstream
from meshca.clock import SystemClock
from meshca.config.loader import load_config
from meshca.durable import check_private_folder
from meshca.errors import ConfigError, MeshcaError
from meshca.store.location import check_location


def check(path: Path | None, environ: Mapping[str, str]) -> list[str]:
    """Run the server's loader, then look at the data directory, the ledger's file and the upstream.

    Not checked: whether ports are free, since the server that uses them may be running.

    Returns:
        Notes on what is good but may not be meant.

    Raises:
        ConfigError: with every problem of every file.
    """
    source = str(path or "configuration")
    config = load_config(path, environ)
    problems: list[str] = []
    try:
        read_files(config, source)
    except ConfigError as error:
        problems += error.problems
    looks: tuple[Callable[[], None], ...] = (
        lambda: check_private_folder(config.data_dir),
        lambda: check_location(config.ledger_url),
        lambda: asyncio.run(check_upstream(config, SystemClock())),
    )
    for look in looks:
        try:
            look()
        except ConfigError as error:
            problems += [f"{error.source}: {problem}" for problem in error.problems]
        except MeshcaError as error:
            problems.append(f"upstream: {error.detail}")
    if problems:
        raise ConfigError(source, list(dict.fromkeys(problems)))
    return [] if config.authn.issuers else [f"authn.issuers is empty: {NO_ISSUERS}"]

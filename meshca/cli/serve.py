"""`meshca serve`: the certificate authority and control plane."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from meshca.cli.output import reporting_errors

if TYPE_CHECKING:
    from meshca.app.server import Started

ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        help="The configuration file; without one, defaults and MESHCA__SECTION__KEY variables.",
        show_default=False,
    ),
]


def command(config: ConfigFile = None) -> None:
    """Run the CA in the foreground: SIGTERM drains and ends it, SIGHUP loads the configuration anew."""
    from meshca.app.metrics_dir import metrics_directory

    with reporting_errors(), metrics_directory() as metrics_folder:
        run(config, lambda _: None, metrics_folder)


def run(path: Path | None, announced: Callable[[Started], None], metrics_folder: Path) -> None:
    """Run a server to its end; returns when a signal has ended it.

    Args:
        path: of the configuration.
        announced: called once it serves.
        metrics_folder: made before anything imported `meshca.metrics`.

    Raises:
        MeshcaError: it cannot start.
    """
    from meshca.app.spawning import Spawning
    from meshca.config.loader import load_config

    config = load_config(path, os.environ)
    spawning = Spawning(metrics_folder)
    with spawning.early(config.worker_count):
        import uvloop

        from meshca.app import loading
        from meshca.app.server import serve
        from meshca.log import configure

        configure(level=config.log.level, format_=config.log.format)
        uvloop.run(serve(lambda: loading.load(path, os.environ), announced, spawning))

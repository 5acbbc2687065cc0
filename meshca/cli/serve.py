"""`meshca serve`: the certificate authority and control plane."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from meshca.cli.output import reporting_errors

if TYPE_CHECKING:
    from meshca.app.loading import Loaded
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
        run(lambda: _load(config), lambda _: None, metrics_folder)


def run(load: Callable[[], Loaded], announced: Callable[[Started], None], metrics_folder: Path) -> None:
    """Run a server to its end; returns when a signal has ended it.

    Args:
        load: reads the configuration.
        announced: called once it serves.
        metrics_folder: made before anything imported `meshca.metrics`.

    Raises:
        MeshcaError: it cannot start.
    """
    import uvloop

    from meshca.app.server import serve
    from meshca.log import configure

    log = load().config.log
    configure(level=log.level, format_=log.format)
    uvloop.run(serve(load, announced, metrics_folder))


def _load(config: Path | None) -> Loaded:
    from meshca.app import loading

    return loading.load(config, os.environ)

"""Finds the socket of the running server, and asks it; shared by the commands that talk to one."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeVar

import typer

from meshca.errors import ConfigError

if TYPE_CHECKING:
    from meshca.app.admin_client import AdminClient

VARIABLE: Final = "MESHCA_ADMIN_SOCKET"

Socket = Annotated[
    Path | None,
    typer.Option(
        "--socket",
        help=f"The running server's administrator socket; else --config, else {VARIABLE}, else the default.",
        show_default=False,
    ),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="The running server's configuration file.", show_default=False),
]

T = TypeVar("T")


def find_socket(socket: Path | None, config: Path | None, environ: Mapping[str, str]) -> Path:
    """Where the server listens: flags first, then the environment, then the default configuration.

    Raises:
        ConfigError: the configuration does not say; what else is wrong with it does not matter here.
    """
    if socket is not None:
        return socket
    if config is None and (named := environ.get(VARIABLE)):
        return Path(named)
    from meshca.config.loader import load_admin_socket

    try:
        return load_admin_socket(config, environ)
    except ConfigError as error:
        problems = [f"{problem}; or name the running server's socket with --socket" for problem in error.problems]
        raise ConfigError(error.source, problems) from None


def ask(socket: Path | None, config: Path | None, question: Callable[[AdminClient], Awaitable[T]]) -> T:
    """The answer of the running server.

    Raises:
        ConfigError: the socket is not to be found.
        MeshcaError: the server cannot be asked, or refuses.
    """
    from meshca.app.admin_client import connect

    path = find_socket(socket, config, os.environ)

    async def asked() -> T:
        async with connect(path) as client:
            return await question(client)

    return asyncio.run(asked())

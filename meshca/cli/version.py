"""`meshca version`: of this program, and of the running server if it can be asked."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from meshca.cli.admin_socket import ConfigFile, Socket, ask
from meshca.cli.output import Format, Output, emit, reporting_errors
from meshca.errors import ConfigError, MeshcaError


def command(
    client: Annotated[bool, typer.Option("--client", help="Of this program only; no server is asked.")] = False,
    socket: Socket = None,
    config: ConfigFile = None,
    output: Output = Format.TEXT,
) -> None:
    """Print the version of this program, and of the running server.

    A server that cannot be asked is told in one line, and is no failure.
    """
    own = version("meshca")
    document: dict[str, str | None] = {"client": own}
    lines = [f"client {own}"]
    if not client:
        with reporting_errors(output):
            server, problem = _server(socket, config)
        document |= {"server": server, "problem": problem}
        lines.append(f"server {server}" if server else f"server not reached: {problem}")
    emit(document, "\n".join(lines), output)


def _server(socket: Path | None, config: Path | None) -> tuple[str | None, str]:
    """The server's version, or why it is not known."""
    try:
        return ask(socket, config, lambda client: client.status()).version, ""
    except ConfigError:  # whoever names a configuration is told what is wrong with it
        raise
    except MeshcaError as error:
        return None, error.detail

"""The command line's table of commands.

Parses and prints, nothing else; what a command does lives in `app` or in the room it speaks of.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING

import typer

from meshca.cli.output import EXIT_FAILED

if TYPE_CHECKING:
    from collections.abc import Mapping

# name -> module below meshca.cli that adds it: a group (a `typer.Typer` named `app`) or a `command`
GROUPS: Mapping[str, str] = {
    "admission": "admission",
    "config": "config",
    "dev": "dev",
    "doctor": "doctor",
    "ledger": "ledger",
    "policy": "policy",
    "root": "root",
    "vault": "vault",
}
COMMANDS: Mapping[str, str] = {
    "agent": "agent",
    "approve": "approve",
    "cert": "cert",
    "demo": "demo",
    "deny": "deny",
    "envoy-config": "envoy_config",
    "inject": "inject",
    "requests": "requests",
    "serve": "serve",
    "status": "status",
    "version": "version",
    "withdraw": "withdraw",
}


def build(wanted: str | None = None) -> typer.Typer:
    """The command line with every group and command of the tables.

    Args:
        wanted: the one whose module alone is imported, when it is in the tables: starting is then fast, and a
            command imports nothing that another one needs.
    """
    app = typer.Typer(
        name="meshca",
        help="Workload identity and certificate authority of a service mesh.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_no_options)  # without one, a single command would lose its name
    alone = wanted in GROUPS or wanted in COMMANDS
    for name, module in GROUPS.items():
        if not alone or name == wanted:
            app.add_typer(importlib.import_module(f"meshca.cli.{module}").app, name=name)
    for name, module in COMMANDS.items():
        if not alone or name == wanted:
            app.command(name)(importlib.import_module(f"meshca.cli.{module}").command)
    return app


def _no_options() -> None:
    """Workload identity and certificate authority of a service mesh."""


def main() -> None:
    """Parse the arguments and run; a fault of ours is told without a traceback."""
    try:
        build(next(iter(sys.argv[1:]), None))()
    except Exception as error:
        if os.environ.get("MESHCA_TRACEBACK"):
            raise
        typer.echo(f"internal error ({type(error).__name__}); set MESHCA_TRACEBACK=1 to see where", err=True)
        sys.exit(EXIT_FAILED)

"""The command line's table of commands.

Parses and prints, nothing else; what a command does lives in `app` or in the room it speaks of.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

app = typer.Typer(
    name="meshca",
    help="Workload identity and certificate authority of a service mesh.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

# module below meshca.cli -> the groups (a `typer.Typer` named `app`) or commands it adds
GROUPS: Sequence[tuple[str, str]] = (("admission", "admission"),)
COMMANDS: Sequence[tuple[str, str]] = ()


def build() -> typer.Typer:
    """The command line with every group and command of the tables."""
    for name, module in GROUPS:
        app.add_typer(importlib.import_module(f"meshca.cli.{module}").app, name=name)
    for name, module in COMMANDS:
        app.command(name)(importlib.import_module(f"meshca.cli.{module}").command)
    return app


def main() -> None:
    """Parse the arguments and run."""
    build()()

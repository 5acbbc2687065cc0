"""`meshca config`: check a configuration as the server would, and show what it means."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from meshca.cli.output import Format, Output, emit, reporting_errors
from meshca.cli.serve import ConfigFile

app = typer.Typer(help="The server's configuration.", no_args_is_help=True)


@app.command()
def check(config: ConfigFile = None, output: Output = Format.TEXT) -> None:
    """Run the server's own loader over a configuration and every file that it names; nothing is changed."""
    with reporting_errors(output):
        from meshca.app.checking import check as run

        notes = run(config, os.environ)
        text = [f"{config or 'configuration'}: good", *(f"note: {note}" for note in notes)]
        emit({"config": str(config or ""), "good": True, "notes": notes}, "\n".join(text), output)


@app.command()
def show(
    config: ConfigFile = None,
    output: Annotated[Format, typer.Option("--output", "-o", help="YAML as text, or json.")] = Format.TEXT,
) -> None:
    """Print the whole configuration in force: the file, the environment and the defaults together."""
    with reporting_errors(output):
        import yaml

        from meshca.config.loader import load_config

        tree = load_config(config, os.environ).model_dump(mode="json")
        emit(tree, yaml.safe_dump(tree, sort_keys=False).rstrip(), output)

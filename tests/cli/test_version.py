"""Facts about `meshca version`."""

from __future__ import annotations

import json
from importlib.metadata import version

import typer
from typer.testing import CliRunner

from meshca.cli.version import command

app = typer.Typer()
app.command()(command)


def test_text() -> None:
    """The version alone."""
    assert CliRunner().invoke(app, []).stdout == version("meshca") + "\n"


def test_json() -> None:
    """The same for scripts."""
    assert json.loads(CliRunner().invoke(app, ["-o", "json"]).stdout) == {"version": version("meshca")}

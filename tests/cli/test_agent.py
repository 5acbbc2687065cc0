"""`meshca agent` in the list of commands."""

from __future__ import annotations

import sys

import pytest
import typer
from typer.testing import CliRunner

from meshca.cli.agent import command
from meshca.cli.main import build


def test_the_agent_is_listed() -> None:
    """Though `__main__` starts it before this command line is loaded."""
    assert "agent" in CliRunner().invoke(build(), ["--help"]).stdout


def test_it_starts_the_agent_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the arguments as they are."""
    seen: list[list[str]] = []

    def main(arguments: list[str]) -> int:
        seen.append(arguments)
        return 2

    monkeypatch.setattr("meshca.agent.main.main", main)
    monkeypatch.setattr(sys, "argv", ["meshca", "agent", "--endpoint", "x"])
    with pytest.raises(typer.Exit) as caught:
        command()
    assert (caught.value.exit_code, seen) == (2, [["--endpoint", "x"]])

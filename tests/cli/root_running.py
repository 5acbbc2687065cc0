"""Runs commands about roots against a fake of the running server."""

from __future__ import annotations

from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from meshca.cli.main import build
from tests.fakes.admin_client import FakeAdminClient, FakeRootClient


class Running:
    """A terminal beside a running server.

    Attributes:
        roots: what the server is asked.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        fake = FakeAdminClient()
        self.roots: FakeRootClient = fake.roots
        monkeypatch.setattr("meshca.app.admin_client.connect", fake.connect)

    def run(self, *arguments: str, typed: str = "") -> tuple[int, str, str]:
        """Exit code, standard output and standard error of a command."""
        app: typer.Typer = build(arguments[0])
        result = CliRunner().invoke(app, arguments, input=typed)
        return result.exit_code, result.stdout, result.stderr

    def acts(self) -> list[tuple[str, dict[str, Any]]]:
        """What was asked for, questions left aside."""
        return [one for one in self.roots.asked if one[0] not in {"changes", "export", "forecast", "foresee"}]

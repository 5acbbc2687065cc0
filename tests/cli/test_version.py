"""Facts about `meshca version`."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from meshca.cli.version import command
from tests.fakes.admin_client import FakeAdminClient

app = typer.Typer()
app.command()(command)
OWN = version("meshca")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> FakeAdminClient:
    """A running server."""
    fake = FakeAdminClient()
    monkeypatch.setattr("meshca.app.admin_client.connect", fake.connect)
    return fake


def run(*arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error."""
    result = CliRunner().invoke(app, arguments)
    return result.exit_code, result.stdout, result.stderr


def test_both(server: FakeAdminClient) -> None:
    """This program's, and the running server's."""
    assert run("--socket", "/run/a.sock") == (0, f"client {OWN}\nserver {server.report.version}\n", "")
    assert server.path == Path("/run/a.sock")


def test_json(server: FakeAdminClient) -> None:
    """The same for scripts."""
    code, out, _ = run("-o", "json")
    assert (code, json.loads(out)) == (0, {"client": OWN, "server": server.report.version, "problem": ""})


def test_server_away(tmp_path: Path) -> None:
    """One line that says why, and no failure."""
    code, out, err = run("--socket", str(tmp_path / "none.sock"))
    client, away = out.splitlines()
    assert (code, err, client) == (0, "", f"client {OWN}")
    assert away.startswith(f"server not reached: there is no socket at {tmp_path / 'none.sock'}; start ")


def test_server_away_json(tmp_path: Path) -> None:
    """No version, and the reason beside it."""
    code, out, _ = run("--socket", str(tmp_path / "none.sock"), "-o", "json")
    said = json.loads(out)
    assert (code, said["client"], said["server"]) == (0, OWN, None)
    assert said["problem"].startswith("there is no socket at")


def test_client_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """With --client nobody is asked."""

    def asked(_: Path) -> None:
        raise AssertionError

    monkeypatch.setattr("meshca.app.admin_client.connect", asked)
    assert run("--client") == (0, f"client {OWN}\n", "")
    assert json.loads(run("--client", "-o", "json")[1]) == {"client": OWN}


def test_bad_configuration(tmp_path: Path) -> None:
    """A configuration that does not read names no server: wrong usage."""
    code, out, err = run("--config", str(tmp_path / "none.yaml"))
    assert (code, out) == (2, "")
    assert str(tmp_path / "none.yaml") in err

"""Facts about the command line as a whole."""

from __future__ import annotations

import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from meshca.cli import main as subject

EVERY = sorted({*subject.GROUPS, *subject.COMMANDS})


def test_every_command_is_listed() -> None:
    """The help lists each command of the tables, with a line about it."""
    result = CliRunner().invoke(subject.build(), ["--help"])
    assert result.exit_code == 0
    for name in EVERY:
        assert f" {name} " in result.output


@pytest.mark.parametrize("name", [name for name in EVERY if name != "agent"])
def test_alone(name: str) -> None:
    """A command works when only its own module was imported."""
    result = CliRunner().invoke(subject.build(name), [name, "--help"])
    assert result.exit_code == 0, result.output
    assert f"meshca {name}" in result.output.replace("Usage: root", "Usage: meshca")


def test_only_the_wanted_module_is_imported() -> None:
    """Starting one command imports neither the others nor what only they need."""
    code = (
        "import sys; from meshca.cli.main import build; build('version');"
        "print([m for m in ('meshca.cli.serve', 'grpc', 'pydantic', 'cryptography') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_unknown_command() -> None:
    """An unknown command is wrong usage."""
    assert CliRunner().invoke(subject.build("nonsense"), ["nonsense"]).exit_code == 2


@pytest.mark.parametrize("traceback", [False, True])
def test_fault_of_ours(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *, traceback: bool
) -> None:
    """A fault of ours is told in one line, without a traceback unless asked for."""

    def broken(_: str | None) -> typer.Typer:
        raise KeyError("secret text")

    monkeypatch.setattr(subject, "build", broken)
    monkeypatch.setenv("MESHCA_TRACEBACK", "1" if traceback else "")
    if traceback:
        with pytest.raises(KeyError):
            subject.main()
        return
    with pytest.raises(SystemExit) as caught:
        subject.main()
    shown = capsys.readouterr().err
    assert caught.value.code == 1
    assert shown.startswith("internal error (KeyError)")
    assert "secret text" not in shown


def test_installed_command() -> None:
    """`python -m meshca` is the command line."""
    found = subprocess.run([sys.executable, "-m", "meshca", "version"], capture_output=True, text=True, check=True)
    assert found.stdout.strip()

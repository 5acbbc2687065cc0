"""Facts about how commands print and fail."""

from __future__ import annotations

import json

import pytest
import typer
from typer.testing import CliRunner

from meshca.cli.main import build
from meshca.cli.output import Format, emit, reporting_errors, table
from meshca.errors import ConfigError, MeshcaError, Unavailable


def test_text(capsys: pytest.CaptureFixture[str]) -> None:
    """Text is printed as it is."""
    emit({"a": 1}, "words", Format.TEXT)
    assert capsys.readouterr().out == "words\n"


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    """JSON is one document, whatever the text says."""
    emit({"a": 1}, "words", Format.JSON)
    assert json.loads(capsys.readouterr().out) == {"a": 1}


def test_table() -> None:
    """Rows are aligned under a heading; a missing cell is empty."""
    rows = [{"name": "a", "not_after": "soon"}, {"name": "long"}]
    assert table(rows, ["name", "not_after"]) == "NAME  NOT AFTER\na     soon\nlong"


def test_empty_table() -> None:
    """Nothing is shown as (none)."""
    assert table([], ["name"]) == "(none)"


def test_configuration_error(capsys: pytest.CaptureFixture[str]) -> None:
    """Every problem is a line on standard error; the exit code is 2."""
    with pytest.raises(typer.Exit) as caught, reporting_errors():
        raise ConfigError("file.yaml", ["first", "second"])
    shown = capsys.readouterr()
    assert caught.value.exit_code == 2
    assert (shown.out, shown.err) == ("", "error: file.yaml:\n  - first\n  - second\n")


def test_failure(capsys: pytest.CaptureFixture[str]) -> None:
    """Another error of ours is one line; the exit code is 1."""
    with pytest.raises(typer.Exit) as caught, reporting_errors():
        raise Unavailable("store", "the disk is full")
    assert caught.value.exit_code == 1
    assert capsys.readouterr().err == "error: the disk is full (store)\n"


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (ConfigError("f\n", ["one\x1b[2J", "two\nerror: x"]), "f\\n:\n  - one\\x1b[2J\n  - two\\nerror: x\n"),
        (Unavailable("store", "full\x1b[2J\nerror: x"), "full\\x1b[2J\\nerror: x (store)\n"),
    ],
    ids=["configuration", "failure"],
)
def test_no_error_rules_the_terminal(error: MeshcaError, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What it quotes is somebody else's: no control reaches the terminal, and no line is forged."""
    with pytest.raises(typer.Exit), reporting_errors():
        raise error
    assert capsys.readouterr().err == f"error: {shown}"


@pytest.mark.parametrize(
    ("error", "code", "document"),
    [
        (ConfigError("f", ["one", "two"]), 2, {"source": "f", "problems": ["one", "two"]}),
        (Unavailable("store", "full"), 1, {"reason": "store", "detail": "full"}),
    ],
    ids=["configuration", "failure"],
)
def test_errors_as_json(
    error: MeshcaError, code: int, document: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    """One document on standard output for scripts, and the same exit codes."""
    with pytest.raises(typer.Exit) as caught, reporting_errors(Format.JSON):
        raise error
    shown = capsys.readouterr()
    assert caught.value.exit_code == code
    assert (json.loads(shown.out), shown.err) == ({"error": document}, "")


@pytest.mark.parametrize(
    "command",
    [
        ["config", "check", "-c", "/nowhere"],
        ["config", "show", "-c", "/nowhere"],
        ["ledger", "list", "--socket", "/nowhere"],
        ["ledger", "show", "ab", "--socket", "/nowhere"],
        ["status", "--socket", "/nowhere"],
        ["cert", "--endpoint", "x", "--token-file", "/nowhere", "--out", "/nowhere"],
        ["admission", "check", "/nowhere"],
        ["admission", "explain", "--namespace", "n", "--service-account", "s", "--file", "/nowhere"],
        ["policy", "check", "/nowhere"],
        ["policy", "explain", "/nowhere", "--namespace", "n", "--path", "/"],
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_every_command_with_json_fails_with_json(command: list[str]) -> None:
    """Scripts read one format, whatever happens."""
    result = CliRunner().invoke(build(), [*command, "--output", "json"])
    assert result.exit_code in {1, 2}
    assert set(json.loads(result.stdout)) == {"error"}

"""Facts about how commands print and fail."""

from __future__ import annotations

import json

import pytest
import typer

from meshca.cli.output import Format, emit, reporting_errors, table
from meshca.errors import ConfigError, Unavailable


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

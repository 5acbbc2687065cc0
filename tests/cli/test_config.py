"""Facts about `meshca config`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from meshca.app.loading import NO_ISSUERS
from meshca.cli.config import app
from meshca.config.loader import load_config
from meshca.config.server import ServerConfig

NOTE = f"authn.issuers is empty: {NO_ISSUERS}"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A configuration file."""
    path = tmp_path / "meshca.yaml"
    path.write_text("data_dir: data\nsvid: {default_lifetime: 1h}\n")
    return path


def run(*arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error."""
    result = CliRunner().invoke(app, arguments)
    return result.exit_code, result.stdout, result.stderr


def test_good(file: Path) -> None:
    """A good configuration is said to be good."""
    assert run("check", "--config", str(file)) == (0, f"{file}: good\nnote: {NOTE}\n", "")


def test_good_as_json(file: Path) -> None:
    """Scripts get a document."""
    _, out, _ = run("check", "-c", str(file), "-o", "json")
    assert json.loads(out) == {"config": str(file), "good": True, "notes": [NOTE]}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("colour: red", "colour: unknown key; remove it or correct its spelling"),
        ("svid: {default_lifetime: 1}", "svid.default_lifetime: expected a duration with a unit"),
        ("admission: {file: none.yaml}", "none.yaml: cannot be read"),
        ("data_dir: data\ndata_dir: other", "duplicate key"),
        ("listen: {token: nowhere}", "listen.token: expected host:port"),
        ("listen: {token: '127.0.0.1:99999'}", "listen.token: expected host:port"),
        ("a: [", "line 2"),
    ],
    ids=["unknown key", "no unit", "missing file", "duplicate key", "no port", "port too large", "not YAML"],
)
def test_bad(file: Path, text: str, line: str) -> None:
    """Each problem is a line on standard error, the exit code is 2, and there is no traceback."""
    file.write_text(text)
    code, out, err = run("check", "-c", str(file))
    assert (code, out) == (2, "")
    assert line in err
    assert "Traceback" not in err


def test_missing_file(tmp_path: Path) -> None:
    """A configuration file that is not there is named."""
    code, _, err = run("check", "-c", str(tmp_path / "none.yaml"))
    assert code == 2
    assert "none.yaml" in err


def test_all_problems_at_once(file: Path) -> None:
    """Every problem of every part is listed."""
    file.write_text("colour: red\nworkers: 0\nsvid: {max_lifetime: 100d}\n")
    _, _, err = run("check", "-c", str(file))
    assert all(f"\n  - {place}" in err for place in ("colour", "workers", "svid"))


def test_show_is_the_whole_configuration(file: Path) -> None:
    """What is shown has the defaults too, and reads back as the same configuration."""
    _, out, _ = run("show", "-c", str(file))
    shown = yaml.safe_load(out)
    assert shown["svid"]["default_lifetime"] == "1h"
    assert shown["trust_domain"] == "cluster.local"
    assert ServerConfig.model_validate(shown) == load_config(file, {})


def test_show_as_json(file: Path) -> None:
    """Scripts get the same as JSON."""
    _, out, _ = run("show", "-c", str(file), "-o", "json")
    assert json.loads(out)["data_dir"] == str(file.parent / "data")


def test_environment_counts(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the environment overrides is shown as overridden."""
    monkeypatch.setenv("MESHCA__WORKERS", "3")
    assert yaml.safe_load(run("show", "-c", str(file))[1])["workers"] == 3

"""The documented example of `meshca inject` is what the command prints."""

from __future__ import annotations

from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from typer.testing import CliRunner

from meshca.cli.main import build

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "examples" / "inject"
RESULT = FOLDER / "web.injected.yaml"


def printed(file: Path) -> str:
    """By the command, without flags."""
    result = CliRunner().invoke(build("inject"), ["inject", "--quiet", str(file)])
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.parametrize("file", [FOLDER / "web.yaml", RESULT], ids=lambda file: file.name)
def test_is_what_the_command_prints(file: Path) -> None:
    """If not: `meshca inject -o docs/examples/inject/web.injected.yaml docs/examples/inject/web.yaml`."""
    assert printed(file) == RESULT.read_text(encoding="utf-8")


@pytest.mark.parametrize("minor", range(30, 38))
def test_is_known_to_kubernetes(minor: int) -> None:
    """To the last field."""
    for each in yaml.safe_load_all(RESULT.read_text(encoding="utf-8")):
        kubernetes_validate.validate(each, f"1.{minor}", strict=True)

"""Facts about `meshca dev token`; `meshca dev up` is in tests/e2e."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jwt
import pytest
from typer.testing import CliRunner

from meshca.app.dev_issuer import DevIssuer
from meshca.cli.dev import app
from meshca.clock import SystemClock

WHO = ("--namespace", "shop", "--service-account", "web")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a CA."""
    DevIssuer.create(tmp_path, SystemClock())
    return tmp_path


def run(*arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error."""
    result = CliRunner().invoke(app, arguments)
    return result.exit_code, result.stdout, result.stderr


def claims(folder: Path, *arguments: str) -> Mapping[str, Any]:
    """The claims of a token that these arguments make."""
    code, out, err = run("token", "--dir", str(folder), *WHO, *arguments)
    assert (code, err) == (0, "")
    read: Mapping[str, Any] = jwt.decode(out.strip(), options={"verify_signature": False})
    return read


def test_one_line(folder: Path) -> None:
    """The token is one line on standard output, for a file or a variable."""
    _, out, _ = run("token", "--dir", str(folder), *WHO)
    assert out.count("\n") == 1
    assert out.count(".") == 2


def test_defaults(folder: Path) -> None:
    """A token is for the CA's audience, for ten minutes, bound to a pod of the workload's name."""
    found = claims(folder)
    assert found["sub"] == "system:serviceaccount:shop:web"
    assert found["aud"] == ["istio-ca"]
    assert found["exp"] - found["iat"] == 600
    assert found["kubernetes.io"]["pod"]["name"] == "web-0"


def test_options(folder: Path) -> None:
    """Audience, life, pod and labels can be chosen."""
    found = claims(
        folder, "--audience", "other", "--expires-in", "1h", "--pod", "p", "--label", "app=web", "--label", "v=1"
    )
    assert (found["aud"], found["exp"] - found["iat"]) == (["other"], 3600)
    assert found["kubernetes.io"]["pod"]["name"] == "p"
    assert found["meshca.dev/labels"] == {"app": "web", "v": "1"}


def test_no_pod(folder: Path) -> None:
    """A token can be bound to no pod."""
    assert "pod" not in claims(folder, "--no-pod")["kubernetes.io"]


def test_expired(folder: Path) -> None:
    """A negative life makes a token that has expired."""
    found = claims(folder, "--expires-in", "-5m")
    assert found["exp"] - found["iat"] == -300


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--namespace", "Shop", "--service-account", "web"), 1, "DNS-1123"),
        ((*WHO, "--expires-in", "10"), 2, "with a unit"),
        ((*WHO, "--pod", "a", "--no-pod"), 2, "exclude each other"),
        ((*WHO, "--label", "nothing"), 2, "KEY=VALUE"),
    ],
    ids=["upper case", "no unit", "pod and no pod", "no value"],
)
def test_refused(folder: Path, arguments: tuple[str, ...], code: int, words: str) -> None:
    """What cannot be is refused with a sentence."""
    found, out, err = run("token", "--dir", str(folder), *arguments)
    assert (found, out) == (code, "")
    assert words in " ".join(err.replace("│", " ").split())


def test_no_ca(tmp_path: Path) -> None:
    """Without a CA in the folder the command says how to start one."""
    code, _, err = run("token", "--dir", str(tmp_path), *WHO)
    assert code == 2
    assert "meshca dev up" in err

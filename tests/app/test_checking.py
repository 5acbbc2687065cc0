"""Facts about checking a configuration without starting a server."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from meshca.app.checking import check
from meshca.errors import ConfigError
from tests.fakes.pki import make_ca
from tests.real.dev_server import MESHCA
from tests.real.unprivileged import bound


def write(folder: Path, text: str) -> Path:
    """A configuration file."""
    path = folder / "meshca.yaml"
    path.write_text(text)
    return path


def test_good(tmp_path: Path) -> None:
    """A configuration from which a server could start passes, and nothing was made."""
    check(write(tmp_path, "data_dir: data"), {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["meshca.yaml"]


def test_problems_of_every_part(tmp_path: Path) -> None:
    """Files, ledger and upstream are looked at, and all that is wrong is listed."""
    path = write(
        tmp_path,
        "data_dir: data\nadmission: {file: none.yaml}\nledger: {url: 'postgresql://u:p@h/d'}\n"
        "upstream: {kind: files, dir: cacerts}\n",
    )
    with pytest.raises(ConfigError) as caught:
        check(path, {})
    text = "\n".join(caught.value.problems)
    assert "none.yaml: cannot be read" in text
    assert "PostgreSQL" in text
    assert "cacerts" in text
    assert "u:p" not in text


def test_unknown_key(tmp_path: Path) -> None:
    """An unknown key is named with its path."""
    with pytest.raises(ConfigError, match=r"svid.colour: unknown key"):
        check(write(tmp_path, "svid: {colour: red}"), {})


def test_readable_key_of_the_ca(tmp_path: Path) -> None:
    """A plugged-in CA whose key others can read is refused."""
    root = make_ca("root")
    folder = tmp_path / "cacerts"
    folder.mkdir()
    for name, text in {
        "ca-cert.pem": root.pem,
        "ca-key.pem": root.key_pem,
        "cert-chain.pem": root.pem,
        "root-cert.pem": root.pem,
    }.items():
        (folder / name).write_text(text)
    (folder / "ca-key.pem").chmod(0o644)
    with pytest.raises(ConfigError, match=r"ca-key\.pem"):
        check(write(tmp_path, "data_dir: data\nupstream: {kind: files, dir: cacerts}"), {})


def test_damaged_data_directory(tmp_path: Path) -> None:
    """Keys without their certificates in the data directory are found, and left alone."""
    keys = tmp_path / "data" / "keys"
    keys.mkdir(parents=True, mode=0o700)
    (tmp_path / "data").chmod(0o700)
    (keys / "00.key.pem").write_text("x")
    (keys / "00.key.pem").chmod(0o600)
    with pytest.raises(ConfigError, match="self-signed CA"):
        check(write(tmp_path, "data_dir: data"), {})
    assert (keys / "00.key.pem").exists()


@pytest.mark.parametrize("ledger", ["", "ledger: {url: 'sqlite:////%s/own.db'}\n"], ids=["in it", "elsewhere"])
def test_data_directory_that_others_may_use(tmp_path: Path, ledger: str) -> None:
    """What the server would refuse is not good."""
    (tmp_path / "data").mkdir(mode=0o755)
    with pytest.raises(ConfigError) as caught:
        check(write(tmp_path, "data_dir: data\n" + (ledger and ledger % tmp_path)), {})
    assert [f"chmod 700 {tmp_path / 'data'}" in problem for problem in caught.value.problems] == [True]


def shut(folder: Path) -> None:
    """A data directory that may not be entered."""
    (folder / "data").mkdir(mode=0o700)
    (folder / "data").chmod(0)


def read_only(folder: Path) -> None:
    """A data directory that cannot be written."""
    (folder / "data").mkdir(mode=0o500)


def no_parent(folder: Path) -> None:
    """One that could not be made."""
    folder.chmod(0o500)


def foreign_ledger(folder: Path) -> None:
    """A ledger of another user."""
    (folder / "data").mkdir(mode=0o700)
    (folder / "data" / "meshca.db").touch(0o400)


def shut_keys(folder: Path) -> None:
    """A folder of keys that may not be entered."""
    (folder / "data").mkdir(mode=0o700)
    (folder / "data" / "keys").mkdir(mode=0)


@pytest.mark.real("unprivileged")
@pytest.mark.parametrize(
    ("spoil", "place"),
    [
        pytest.param(shut, "data: cannot be written", id="shut"),
        pytest.param(read_only, "data: cannot be written", id="read-only"),
        pytest.param(no_parent, "data: cannot be written", id="no parent"),
        pytest.param(foreign_ledger, "meshca.db: must be a file", id="foreign ledger"),
        pytest.param(shut_keys, "keys: cannot be written", id="shut keys"),
    ],
)
def test_what_this_user_may_not_use(tmp_path: Path, spoil: Callable[[Path], None], place: str) -> None:
    """One line for each, and no traceback; serve would be refused too."""
    path = write(tmp_path, "data_dir: data\nworkers: 1\nlisten: {token: '127.0.0.1:0', mtls: '127.0.0.1:0'}\n")
    spoil(tmp_path)
    for command in (("config", "check"), ("serve",)):
        run = bound(*MESHCA, *command, "-c", str(path))
        done = subprocess.run(run, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, "Traceback" in done.stderr) == (2, False)
        assert command == ("serve",) or place in done.stderr

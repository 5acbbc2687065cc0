"""Facts about checking a configuration without starting a server."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshca.app.checking import check
from meshca.errors import ConfigError
from tests.fakes.pki import make_ca


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

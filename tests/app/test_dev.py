"""Facts about the folder of a CA for experiments."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from meshca.app.dev import ENDPOINTS, DevFolder
from meshca.app.loading import load
from meshca.app.ports import Address
from meshca.app.server import Started
from meshca.errors import ConfigError

PORTS = {"token": 1, "mtls": 2, "http": 0}
STARTED = Started(
    token=Address(host="127.0.0.1", port=11),
    mtls=Address(host="127.0.0.1", port=12),
    http=Address(host="127.0.0.1", port=13),
    roots="roots\n",
)


def test_configuration_is_what_the_server_loads(tmp_path: Path) -> None:
    """The folder's configuration is a good one: its own issuer, loopback ports, data in the folder."""
    with DevFolder.prepared(tmp_path / "ca", PORTS) as folder:
        config = load(folder.config, {}).config
    assert (config.listen.token, config.listen.mtls, config.listen.http) == (
        "127.0.0.1:1",
        "127.0.0.1:2",
        "127.0.0.1:0",
    )
    assert config.data_dir == tmp_path / "ca" / "data"
    assert [issuer.name for issuer in config.authn.issuers] == ["home"]


def test_environment_overrides(tmp_path: Path) -> None:
    """As everywhere, the environment overrides the file."""
    with DevFolder.prepared(tmp_path / "ca", PORTS) as folder:
        assert load(folder.config, {"MESHCA__WORKERS": "1"}).config.workers == 1


def test_announced(tmp_path: Path) -> None:
    """Once it serves, the files say where; afterwards only root and configuration are left."""
    with DevFolder.prepared(tmp_path / "ca", PORTS) as folder:
        folder.announce(STARTED)
        texts = {name: (folder.path / name).read_text() for name in (*ENDPOINTS, "root.pem", "ready")}
    assert texts["endpoint"] == "127.0.0.1:11\n"
    assert texts["endpoint-mtls"] == "127.0.0.1:12\n"
    assert texts["endpoint-http"] == "127.0.0.1:13\n"
    assert texts["endpoint-admin"] == f"{tmp_path}/ca/admin.sock\n"
    assert texts["root.pem"] == "roots\n"
    assert {path.name for path in (tmp_path / "ca").iterdir()}.isdisjoint({*ENDPOINTS, "ready"})


def test_ready_is_written_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sees `ready` finds everything else in place."""
    written: list[str] = []
    with DevFolder.prepared(tmp_path / "ca", PORTS) as folder:
        monkeypatch.setattr("meshca.durable.replace", lambda path, _: written.append(path.name))
        folder.announce(STARTED)
    assert written[-1] == "ready"


def test_left_over_ready_is_removed(tmp_path: Path) -> None:
    """What a killed server left behind does not say ready any more."""
    (tmp_path / "ready").touch()
    with DevFolder.prepared(tmp_path, PORTS):
        assert not (tmp_path / "ready").exists()


def test_issuer_is_kept(tmp_path: Path) -> None:
    """A second run has the same issuer, so that tokens of the first stay good."""
    keys = []
    for _ in range(2):
        with DevFolder.prepared(tmp_path, PORTS) as folder:
            keys.append((folder.path / "jwks.json").read_bytes())
    assert keys[0] == keys[1]


def test_one_at_a_time(tmp_path: Path) -> None:
    """A second run in the same folder is refused and changes nothing."""
    with DevFolder.prepared(tmp_path, PORTS) as folder:
        folder.announce(STARTED)
        with pytest.raises(ConfigError, match="is used by another"), DevFolder.prepared(tmp_path, PORTS):
            pass
        assert (tmp_path / "ready").exists()


def test_long_name(tmp_path: Path) -> None:
    """A folder whose name is too long for a socket has its socket elsewhere, for as long as it serves."""
    with DevFolder.prepared(tmp_path / ("long" * 20), PORTS) as folder:
        assert len(os.fsencode(folder.admin_socket)) < 80
        assert folder.admin_socket.parent.exists()
    assert not folder.admin_socket.parent.exists()

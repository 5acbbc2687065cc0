"""Facts about `meshca serve`, run as its users run it: a real process and its configuration file."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from meshca.app.dev_issuer import DevIssuer
from meshca.clock import SystemClock
from tests.fakes.pki import make_ca
from tests.real.dev_server import MESHCA, wait_for
from tests.real.mounts import on_read_only_disk


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A good configuration with one worker and free ports."""
    DevIssuer.create(tmp_path / "issuer", SystemClock())
    path = tmp_path / "meshca.yaml"
    path.write_text(
        f"""
data_dir: data
workers: 1
listen: {{token: "127.0.0.1:0", mtls: "127.0.0.1:0", http: "127.0.0.1:{free_port()}"}}
authn:
  issuers:
    - {{issuer: "https://issuer.dev.meshca.invalid", keys: {{file: issuer/jwks.json}}}}
"""
    )
    return path


@contextmanager
def serving(config: Path) -> Iterator[subprocess.Popen[str]]:
    """A running `meshca serve`; always ended."""
    process = subprocess.Popen([*MESHCA, "serve", "--config", str(config)], stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def refused(config: Path, environment: dict[str, str] | None = None, *, read_only: Path | None = None) -> str:
    """Standard error of a serve that does not start, perhaps because a folder is on a read-only disk."""
    command = [*MESHCA, "serve", "--config", str(config)]
    found = subprocess.run(
        command if read_only is None else on_read_only_disk(read_only, command),
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert found.returncode == 2, found.stderr
    assert "Traceback" not in found.stderr
    assert found.stdout == ""
    return found.stderr


def is_ready(port: str) -> bool:
    """Whether /readyz says so."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def test_serves_and_ends(config: Path) -> None:
    """It serves from a file, and SIGTERM ends it with exit code 0 and nothing left but its data."""
    port = config.read_text().partition('http: "127.0.0.1:')[2].partition('"')[0]
    with serving(config) as process:
        wait_for(lambda: is_ready(port) or process.poll() is not None, 60)
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=30)
    assert process.returncode == 0, log
    assert '"event":"server.ready"' in log
    assert (config.parent / "data").stat().st_mode & 0o777 == 0o700
    assert not (config.parent / "data" / "admin.sock").exists()


def test_unknown_key(config: Path) -> None:
    """An unknown key is named."""
    config.write_text(config.read_text() + "colour: red\n")
    assert "colour: unknown key" in refused(config)


def test_environment(config: Path) -> None:
    """A wrong override is named."""
    assert "svid.default_lifetime" in refused(config, {"MESHCA__SVID__DEFAULT_LIFETIME": "soon"})


def test_missing_configuration(tmp_path: Path) -> None:
    """A configuration that is not there is named."""
    assert "none.yaml" in refused(tmp_path / "none.yaml")


def test_missing_key_set(config: Path) -> None:
    """A file that the configuration names and that is not there is named."""
    (config.parent / "issuer" / "jwks.json").unlink()
    assert "jwks.json: cannot be read" in refused(config)


def test_port_in_use(config: Path) -> None:
    """A port on which somebody listens is named, with its setting."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config.write_text(config.read_text().replace('token: "127.0.0.1:0"', f'token: "127.0.0.1:{port}"'))
        assert f"listen.token: 127.0.0.1:{port} is in use" in refused(config)


def test_readable_key(config: Path) -> None:
    """A CA key that others can read is refused, with the command that closes it."""
    root, folder = make_ca("root"), config.parent / "cacerts"
    folder.mkdir()
    for name in ("ca-cert.pem", "cert-chain.pem", "root-cert.pem"):
        (folder / name).write_text(root.pem)
    (folder / "ca-key.pem").write_text(root.key_pem)
    (folder / "ca-key.pem").chmod(0o644)
    config.write_text(config.read_text() + "upstream: {kind: files, dir: cacerts}\n")
    assert "chmod 600" in refused(config)


def test_live_admin_socket(config: Path) -> None:
    """An administrator's socket that somebody serves is refused and left alone."""
    folder = config.parent / "data"
    folder.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as live:
        live.bind(str(folder / "admin.sock"))
        live.listen()
        assert "admin.sock" in refused(config)
        assert (folder / "admin.sock").exists()


def test_open_data_directory(config: Path) -> None:
    """A data directory that others may use is refused."""
    (config.parent / "data").mkdir(mode=0o755)
    assert "chmod 700" in refused(config)


@pytest.mark.real("mounts")
@pytest.mark.parametrize("data_dir", ["data", "data/new"], ids=["is there", "is to be made"])
def test_read_only_data_directory(config: Path, data_dir: str) -> None:
    """A data directory on a read-only disk is refused by its name, in words."""
    (config.parent / "data").mkdir(mode=0o700)
    config.write_text(config.read_text().replace("data_dir: data", f"data_dir: {data_dir}"))
    said = refused(config, read_only=config.parent / "data")
    assert said.startswith(f"error: {config.parent / data_dir}:\n  - cannot be ")
    assert "(Read-only file system)" in said

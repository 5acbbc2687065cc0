"""Putting the upstream together: what is looked at before anything is asked, and what is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from meshca.app.openbao_process import OpenBao
from meshca.authority.material import certificate_id
from meshca.authority.slot import Slot
from meshca.clock import SystemClock
from meshca.config.vault import VaultConfig
from meshca.errors import ConfigError, Unavailable
from meshca.upstream.vault.opening import check, open_, reach
from tests.fakes.clock import FakeClock
from tests.fakes.logs import captured_logs
from tests.fakes.pki import TRUST_DOMAIN, make_ca
from tests.fakes.vault_tls import sha256_of
from tests.real.openbao import new_mount, own_openbao, tls_files, vault_config

real = pytest.mark.real("openbao")
NOWHERE = "http://127.0.0.1:1"


def config_of(folder: Path, **changes: Any) -> VaultConfig:
    """Of a server that is not there."""
    (folder / "token").write_text("s.token")
    return VaultConfig.model_validate(
        {
            "kind": "vault",
            "address": NOWHERE,
            "allow_http": True,
            "login": {"token": {"file": str(folder / "token")}},
            "roots": {"accept": "first_use"},
        }
        | changes
    )


async def opened(config: VaultConfig, data_dir: Path, **environ: str) -> None:
    """Open it and end."""
    async with open_(config, data_dir=data_dir, environ=environ, trust_domain=TRUST_DOMAIN, clock=FakeClock()):
        pass


async def test_environment_is_told(tmp_path: Path) -> None:
    """What is set in the environment and loses is logged at the start."""
    with captured_logs() as logs:
        await opened(config_of(tmp_path), tmp_path, VAULT_ADDR="https://other.example")
    notes = [entry["detail"] for entry in logs if entry["event"] == "vault.environment"]
    assert len(notes) == 1
    assert "VAULT_ADDR" in notes[0]


async def test_no_address(tmp_path: Path) -> None:
    """Without an address nothing is opened."""
    with pytest.raises(ConfigError, match="VAULT_ADDR"):
        await opened(config_of(tmp_path, address=None), tmp_path)


async def test_file_of_roots_is_missing(tmp_path: Path) -> None:
    """A file of TLS roots that is not there is told by its path."""
    missing = tmp_path / "missing.pem"
    with pytest.raises(ConfigError, match=r"missing\.pem"):
        await opened(config_of(tmp_path, ca_file=str(missing)), tmp_path)


async def test_certificate_is_wrong(tmp_path: Path) -> None:
    """A certificate for the login is looked at before anything is asked."""
    (tmp_path / "tls.crt").write_text(make_ca("client").pem)
    (tmp_path / "tls.key").write_text(make_ca("another").key_pem)
    files = {"certificate_file": str(tmp_path / "tls.crt"), "key_file": str(tmp_path / "tls.key")}
    with pytest.raises(ConfigError, match=r"upstream\.login\.cert"):
        await opened(config_of(tmp_path, login={"cert": files}), tmp_path)


async def test_certificate_is_right(tmp_path: Path) -> None:
    """A certificate with its own key is taken."""
    pair = make_ca("client")
    (tmp_path / "tls.crt").write_text(pair.pem)
    (tmp_path / "tls.key").write_text(pair.key_pem)
    files = {"certificate_file": str(tmp_path / "tls.crt"), "key_file": str(tmp_path / "tls.key")}
    async with reach(config_of(tmp_path, login={"cert": files}), environ={}, clock=FakeClock()) as way:
        assert way.config.address == NOWHERE


async def test_half_written_keys(tmp_path: Path) -> None:
    """What a process that was killed has left half written, its key included, is removed at the start."""
    (tmp_path / "vault").mkdir(mode=0o700)
    left = tmp_path / "vault/.0123456789abcdef.json.x1"
    left.write_text("half a key")
    await opened(config_of(tmp_path), tmp_path)
    assert not left.exists()


async def test_nothing_is_asked(tmp_path: Path) -> None:
    """The server need not be there when the upstream is opened; when it is asked that is told."""
    config = config_of(tmp_path)
    with pytest.raises(Unavailable, match="vault_unreachable"):
        await check(config, environ={}, clock=FakeClock())
    await opened(config, tmp_path)


@real
@pytest.mark.parametrize(("custody", "files"), [("file", 2), ("memory", 0)])
async def test_signs(openbao: OpenBao, tmp_path: Path, custody: str, files: int) -> None:
    """Below the pinned root it signs, and writes what it keeps only where a file is the custody."""
    mount, clock, data = await new_mount(openbao), SystemClock(), tmp_path / "data"
    data.mkdir()
    config = vault_config(openbao, mount, tmp_path, custody=custody)
    async with open_(config, data_dir=data, environ={}, trust_domain=TRUST_DOMAIN, clock=clock) as upstream:
        root = x509.load_pem_x509_certificate(mount.root.encode())
        assert [line.root for line in await upstream.lines() if line.signs] == [root]
        offer = await upstream.obtain(certificate_id(root))
    assert Slot.prove(offer.material, TRUST_DOMAIN, clock.now()).path[-1] == root
    assert len([path for path in data.rglob("*") if path.is_file()]) == files


@real
async def test_roots_by_fingerprint(openbao: OpenBao, tmp_path: Path) -> None:
    """A root counts by its fingerprint alone, and no other does."""
    mount, clock = await new_mount(openbao), SystemClock()
    root = x509.load_pem_x509_certificate(mount.root.encode())
    pinned = vault_config(openbao, mount, tmp_path, custody="memory", roots={"sha256": [certificate_id(root)]})
    async with open_(pinned, data_dir=tmp_path, environ={}, trust_domain=TRUST_DOMAIN, clock=clock) as upstream:
        assert [line.root for line in await upstream.lines() if line.signs] == [root]
    other = vault_config(openbao, mount, tmp_path, roots={"sha256": ["a" * 64]})
    with pytest.raises(Unavailable, match="vault_root_unpinned"):
        await check(other, environ={}, clock=clock)


@real
async def test_pinned_certificate(tmp_path: Path) -> None:
    """The server is known by the fingerprint of its TLS certificate alone, and is none with another."""
    tls, roots = tls_files(tmp_path)
    async with own_openbao(tmp_path / "bao", tls=tls, roots=roots) as server:
        mount = await new_mount(server)
        pinned = {"ca_file": None, "certificate_sha256": sha256_of(tls[0])}
        await check(vault_config(server, mount, tmp_path, **pinned), environ={}, clock=SystemClock())
        pinned["certificate_sha256"] = sha256_of(roots)
        with pytest.raises(Unavailable, match="vault_untrusted"):
            await check(vault_config(server, mount, tmp_path, **pinned), environ={}, clock=SystemClock())


@real
async def test_check(openbao: OpenBao, tmp_path: Path) -> None:
    """A good configuration is found good without a login, and one with another root pinned is not."""
    mount = await new_mount(openbao)
    config = vault_config(openbao, mount, tmp_path)
    (tmp_path / "secret-id").unlink()
    await check(config, environ={}, clock=SystemClock())
    (tmp_path / "roots.pem").write_text(make_ca("another").pem)
    with pytest.raises(Unavailable, match="vault_root_unpinned"):
        await check(config, environ={}, clock=SystemClock())

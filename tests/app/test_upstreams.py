"""Facts about the table of upstreams."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import get_args

import pytest
import yaml
from aiohttp import web

from meshca.app.upstreams import UPSTREAMS, check_upstream, open_upstream
from meshca.config.kubernetes import KubernetesConfig
from meshca.config.server import ServerConfig
from meshca.config.upstream import FilesConfig, SecretConfig, UpstreamConfig
from meshca.config.vault import VaultConfig
from meshca.errors import ConfigError, Unavailable
from meshca.keystore.token_uri import Token
from meshca.upstream.vault.trust import no_mesh
from tests.fakes.cacerts import cacerts, write
from tests.fakes.clock import FakeClock
from tests.fakes.kube_server import serving, status
from tests.fakes.pki import make_ca
from tests.fakes.upstream import first_offer
from tests.fakes.vault_place import vault_config


def config(folder: Path, **changes: object) -> ServerConfig:
    """A configuration whose data directory is there."""
    (folder / "data").mkdir(mode=0o700, exist_ok=True)
    return ServerConfig(data_dir=folder / "data").model_copy(update=changes)


def test_every_kind_can_be_opened() -> None:
    """Each kind that can be configured has a row in the table."""
    kinds = get_args(get_args(UpstreamConfig)[0])
    assert set(UPSTREAMS) == set(kinds)


async def test_self_signed_is_made_once(tmp_path: Path) -> None:
    """The first opening makes a root in the data directory, the next finds it."""
    clock, found = FakeClock(), []
    for _ in range(2):
        async with open_upstream(config(tmp_path), clock, no_mesh) as upstream:
            found.append((await first_offer(upstream)).material.fingerprint)
    assert found[0] == found[1]


async def test_checking_makes_nothing(tmp_path: Path) -> None:
    """Checking before the first start makes no root."""
    await check_upstream(config(tmp_path), FakeClock())
    assert list((tmp_path / "data").iterdir()) == []


async def test_checking_looks_at_what_is_there(tmp_path: Path) -> None:
    """Checking finds damage of a CA that exists."""
    async with open_upstream(config(tmp_path), FakeClock(), no_mesh):
        pass
    (tmp_path / "data" / "ca" / "root.pem").write_text("damaged")
    with pytest.raises(ConfigError, match=r"root\.pem"):
        await check_upstream(config(tmp_path), FakeClock())


def dead_vault() -> VaultConfig:
    """One at an address where nobody listens."""
    return vault_config(address="https://127.0.0.1:1", ca_file=None)


async def test_vault_after_a_root_of_our_own(tmp_path: Path) -> None:
    """What signed before goes on to sign, also while Vault cannot be had."""
    async with open_upstream(config(tmp_path), FakeClock(), no_mesh) as upstream:
        before = await first_offer(upstream)
    async with open_upstream(config(tmp_path, upstream=dead_vault()), FakeClock(), no_mesh) as upstream:
        assert (await first_offer(upstream)).material.fingerprint == before.material.fingerprint
        assert upstream.problem is not None


async def test_vault_after_files(tmp_path: Path) -> None:
    """What was plugged in before goes on to sign although its folder is gone."""
    folder, root = tmp_path / "cacerts", make_ca("root")
    write(folder, cacerts(make_ca("below", root), roots=(root,)))
    plugged_in = config(tmp_path, upstream=FilesConfig(kind="files", dir=folder))
    async with open_upstream(plugged_in, FakeClock(), no_mesh) as upstream:
        before = await first_offer(upstream)
    shutil.rmtree(folder)
    async with open_upstream(config(tmp_path, upstream=dead_vault()), FakeClock(), no_mesh) as upstream:
        assert (await first_offer(upstream)).material.fingerprint == before.material.fingerprint


async def test_vault_from_the_beginning(tmp_path: Path) -> None:
    """Where nothing was before, nothing is made in its place."""
    async with open_upstream(config(tmp_path, upstream=dead_vault()), FakeClock(), no_mesh) as upstream:
        with pytest.raises(Unavailable, match="nothing answers"):
            await upstream.lines()
    assert not (tmp_path / "data" / "ca").exists()


async def test_files_that_are_not_there(tmp_path: Path) -> None:
    """A folder of files that does not exist is found by checking and by opening."""
    missing = config(tmp_path, upstream=FilesConfig(kind="files", dir=tmp_path / "none"))
    with pytest.raises(ConfigError):
        await check_upstream(missing, FakeClock())
    with pytest.raises(ConfigError):
        async with open_upstream(missing, FakeClock(), no_mesh):
            pass


async def test_checking_files_keeps_nothing(tmp_path: Path) -> None:
    """Checking a sound folder of files keeps nothing of it; opening does."""
    root = make_ca("root")
    write(tmp_path / "ca", cacerts(root, roots=(root,)))
    sound = config(tmp_path, upstream=FilesConfig(kind="files", dir=tmp_path / "ca"))
    await check_upstream(sound, FakeClock())
    assert list((tmp_path / "data").iterdir()) == []
    async with open_upstream(sound, FakeClock(), no_mesh):
        assert [path.name for path in (tmp_path / "data").iterdir()] == ["plugged-in"]


class Cluster:
    """An API server without Secrets.

    Attributes:
        config: of a server that may make a root there.
        asked: the methods of all requests.
    """

    def __init__(self, folder: Path, address: str, asked: list[str]) -> None:
        file = folder / "kubeconfig"
        tree = {
            "clusters": [{"name": "c", "cluster": {"server": address}}],
            "users": [{"name": "u", "user": {"token": "x"}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", "namespace": "mesh"}}],
            "current-context": "x",
        }
        file.write_text(yaml.safe_dump(tree))
        self.asked = asked
        self.config = config(
            folder,
            kubernetes=KubernetesConfig(kubeconfig=file),
            upstream=SecretConfig(kind="secret", create=True),
        )


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    """One that runs."""
    asked: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        asked.append(request.method)
        return web.json_response(status("NotFound", 404), status=404)

    async with serving(handler) as address:
        yield Cluster(tmp_path, address, asked)


async def test_secret_is_opened_without_an_api_server(tmp_path: Path) -> None:
    """An API server that is gone does not end the start, but every attempt to obtain something."""
    async with open_upstream(Cluster(tmp_path, "http://127.0.0.1:1", []).config, FakeClock(), no_mesh) as upstream:
        for _ in range(2):
            with pytest.raises(Unavailable, match="the API server cannot be reached"):
                await upstream.lines()


async def test_checking_creates_no_secret(cluster: Cluster) -> None:
    """Checking asks for each of the Secrets, that of a root that follows too, and writes none."""
    await check_upstream(cluster.config, FakeClock())
    assert cluster.asked == ["GET", "GET", "GET"]


@pytest.mark.parametrize(
    ("named", "replica", "asked"),
    [
        (None, "Mesh-0", "/api/v1/namespaces/mesh/secrets/meshca-vault-mesh-0"),
        ("keys", "Mesh-0", "/api/v1/namespaces/mesh/secrets/keys"),
    ],
)
async def test_custody_in_a_secret(tmp_path: Path, named: str | None, replica: str, asked: str) -> None:
    """Intermediates of Vault's are looked for in the Secret of this replica, though Vault is away."""
    paths: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        paths.append(request.path)
        return web.json_response(status("NotFound", 404), status=404)

    vault = VaultConfig.model_validate(
        {
            "kind": "vault",
            "address": "https://127.0.0.1:1",
            "login": {"token": {"file": str(tmp_path / "token")}},
            "roots": {"accept": "any"},
            "custody": "secret",
            "custody_secret": named,
        }
    )
    async with serving(handler) as address:
        server = Cluster(tmp_path, address, []).config.model_copy(update={"upstream": vault, "replica": replica})
        async with open_upstream(server, FakeClock(), no_mesh) as upstream:
            with pytest.raises(Unavailable, match="vault_unreachable"):
                await upstream.lines()
    assert set(paths) == {asked}


@pytest.mark.real("softhsm")
async def test_custody_in_a_token(tmp_path: Path, softhsm: Token) -> None:
    """Intermediates of Vault's whose keys are in a token are opened though Vault is away."""
    token = {"module": str(softhsm.module), "token": softhsm.label, "pin_file": str(softhsm.pin_file)}
    vault = VaultConfig.model_validate(
        {
            "kind": "vault",
            "address": "https://127.0.0.1:1",
            "login": {"token": {"file": str(tmp_path / "token")}},
            "roots": {"accept": "any"},
            "custody": "pkcs11",
            "custody_token": token,
        }
    )
    async with open_upstream(config(tmp_path, upstream=vault), FakeClock(), no_mesh) as upstream:
        with pytest.raises(Unavailable, match="vault_unreachable"):
            await upstream.lines()

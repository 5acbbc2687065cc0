"""What an operator reads who configured Vault wrongly: what was wrong, where, and what to do."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from meshca.app.openbao_process import OpenBao
from meshca.clock import SystemClock
from meshca.config.vault import VaultConfig
from meshca.errors import MeshcaError
from meshca.upstream.vault.faults import TABLE, Fault
from meshca.upstream.vault.opening import check, open_
from tests.fakes.clock import FakeClock
from tests.fakes.pki import DAY, NOW, TRUST_DOMAIN, make_ca
from tests.fakes.vault_replies import saying
from tests.fakes.vault_server import SECRET_ID, FakeVault, serving, serving_vault
from tests.fakes.vault_tls import tls_files
from tests.real.openbao import new_mount, vault_config


@pytest.fixture
async def vault() -> AsyncIterator[FakeVault]:
    """A server whose clock stands still."""
    async with serving_vault(now=lambda: NOW) as vault:
        yield vault


async def told(config: VaultConfig, folder: Path, *, real: bool = False) -> str:
    """What the server logs at its start, when it gets no intermediate by this configuration."""
    clock = SystemClock() if real else FakeClock()
    async with open_(config, data_dir=folder, environ={}, trust_domain=TRUST_DOMAIN, clock=clock) as upstream:
        with pytest.raises(MeshcaError) as caught:
            await upstream.lines()
    return caught.value.detail


async def checked(config: VaultConfig) -> str:
    """What `meshca config check` says of it, where nobody logs in beside."""
    with pytest.raises(MeshcaError) as caught:
        await check(config, environ={}, clock=FakeClock())
    return caught.value.detail


async def test_wrong_port(vault: FakeVault, tmp_path: Path) -> None:
    """Nobody listens at the address."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
        assert await told(vault.config(tmp_path, address=address), tmp_path) == (
            "nothing answers at upstream.address; check address and port, and whether the server runs"
        )


async def test_something_else_at_the_address(vault: FakeVault, tmp_path: Path) -> None:
    """A web page answers in place of Vault."""
    async with serving(saying(b"<html>Welcome</html>", kind="text/html")) as address:
        assert await told(vault.config(tmp_path, address=address), tmp_path) == (
            "what answers at upstream.address is no Vault (it answers no JSON object);"
            " check upstream.address, and whether it is http or https; a proxy may answer for it"
        )


async def test_http_where_https_is_wanted(vault: FakeVault, tmp_path: Path) -> None:
    """An address with https, and a server that speaks http."""
    address = vault.address.replace("http:", "https:")
    assert await checked(vault.config(tmp_path, address=address)) == (
        "the server's TLS certificate is not verified, or there is no TLS at that port;"
        " put the roots of its certificate into upstream.ca_file, or its fingerprint into"
        " upstream.certificate_sha256; check that its names include the host of upstream.address"
    )


async def test_untrusted_certificate(tmp_path: Path) -> None:
    """A server whose certificate is below roots that were not given."""
    (tmp_path / "other").mkdir()
    other = tls_files(tmp_path / "other")[0]
    async with serving_vault(now=lambda: NOW, tls=tls_files(tmp_path)) as vault:
        words = await checked(vault.config(tmp_path, ca_file=str(other)))
    assert words.startswith("the server's TLS certificate is not verified")
    assert "put the roots of its certificate into upstream.ca_file" in words


async def test_wrong_mount(vault: FakeVault, tmp_path: Path) -> None:
    """There is no engine at the mount."""
    assert await told(vault.config(tmp_path, mount="mesh"), tmp_path) == (
        "there is no PKI secrets engine at upstream.mount (HTTP status 403 at mesh/issuer/default/json);"
        " correct it, or upstream.namespace, or enable the engine"
    )


async def test_unknown_issuer(vault: FakeVault, tmp_path: Path) -> None:
    """The mount has no issuer of that name."""
    assert await told(vault.config(tmp_path, issuer="nobody"), tmp_path) == (
        "the mount has no issuer upstream.issuer (HTTP status 500 at pki/issuer/nobody/json);"
        " give a name or id that `vault list <mount>/issuers` shows"
    )


async def test_leaf_in_place_of_a_ca(vault: FakeVault, tmp_path: Path) -> None:
    """What came back was signed as by a role of leaves."""
    vault.pki.forged = {"constraints": None, "usage": None}
    words = await told(vault.config(tmp_path), tmp_path)
    assert words.startswith(
        "what the server gave is not what was asked for (it is no CA: a role of leaves may have"
    )
    assert "upstream.issuer needs an issuer" in words
    assert words.endswith(TABLE[Fault.ANSWER].remedy)


async def test_chain_of_another_key(vault: FakeVault, tmp_path: Path) -> None:
    """What came back was not signed by the issuer that the mount shows."""
    twin = make_ca("root one")
    vault.pki.forged = {"authority": x509.AuthorityKeyIdentifier.from_issuer_public_key(twin.key.public_key())}
    config, shown = vault.config(tmp_path), vault.pki.issuer("one")
    vault.pki.issuers["one"] = (twin,)
    vault.at("/json", saying({"data": shown}))
    words = await told(config, tmp_path)
    assert "no chain of signatures leads from it to a root that counts" in words
    assert words.endswith(TABLE[Fault.ANSWER].remedy)


async def test_50_megabytes(vault: FakeVault, tmp_path: Path) -> None:
    """An answer larger than any that there can be."""
    vault.always(saying(b" " * 50 * 1024 * 1024))
    assert await told(vault.config(tmp_path), tmp_path) == (
        "an answer is larger than 1 MiB and was not read; check upstream.address and the issuers in the mount"
    )


async def test_issuer_that_expires_in_a_minute(vault: FakeVault, tmp_path: Path) -> None:
    """The issuer has a minute left."""
    vault.pki.issuers = {"one": (make_ca("root", end=NOW + timedelta(minutes=1)),)}
    assert await told(vault.config(tmp_path), tmp_path) == (
        "the issuer, or what is above it, ends too soon to sign for us (at 2026-01-01T00:01:00+00:00);"
        " renew it in Vault, or give another one in upstream.issuer"
    )


async def test_truncated_by_an_issuer_that_has_ended(vault: FakeVault, tmp_path: Path) -> None:
    """A server that cuts lives short gives one that is over, below an issuer that is."""
    root = make_ca("root")
    vault.pki.issuers = {"one": (make_ca("old", root, begin=NOW - 2 * DAY, end=NOW - DAY), root)}
    vault.pki.truncates = True
    assert "ends too soon to sign for us (at 2025-12-31" in await told(vault.config(tmp_path), tmp_path)


async def test_namespace_that_is_not_there(vault: FakeVault, tmp_path: Path) -> None:
    """A namespace on a server that has none."""
    assert await told(vault.config(tmp_path, namespace="team"), tmp_path) == (
        "the server has no such namespace, or none at all (HTTP status 404 at pki/issuer/default/json);"
        " correct upstream.namespace, or leave it out"
    )


async def test_secret_id_used_up(vault: FakeVault, tmp_path: Path) -> None:
    """A secret id whose last login was had by somebody else."""
    vault.secret_ids[SECRET_ID] = 0
    words = await told(vault.config(tmp_path), tmp_path)
    assert words.startswith("the server does not log us in (as the role role-of-meshca")
    assert "compare upstream.login with the role in Vault" in words
    assert SECRET_ID not in words


async def test_wrapping_token_used(vault: FakeVault, tmp_path: Path) -> None:
    """A wrapping token that somebody else has opened."""
    (tmp_path / "wrapping-token").write_text("used")
    wrapped = {"role_id": "r", "secret_id_file": str(tmp_path / "wrapping-token"), "wrapped": True}
    assert await told(vault.config(tmp_path, login={"approle": wrapped}), tmp_path) == (
        "the wrapping token in upstream.login.approle.secret_id_file was used already, or has ended;"
        " have another wrapped secret id put there; if it was not us who used it, revoke that secret id"
    )


async def test_unpinned_root(vault: FakeVault, tmp_path: Path) -> None:
    """The issuer's root is not among those that are pinned."""
    (tmp_path / "other.pem").write_text(make_ca("other").pem)
    words = await told(vault.config(tmp_path, roots={"file": str(tmp_path / "other.pem")}), tmp_path)
    assert words.startswith("the issuer is below a root that is not pinned (its fingerprint is ")
    assert "add it to upstream.roots" in words


@pytest.mark.real("openbao")
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mount": "nowhere"}, "there is no PKI secrets engine at upstream.mount"),
        ({"mount": "cubbyhole"}, "there is no PKI secrets engine at upstream.mount"),
        ({"issuer": "nobody"}, "the mount has no issuer upstream.issuer"),
        ({"namespace": "team"}, "the server has no such namespace, or none at all"),
    ],
)
async def test_real(openbao: OpenBao, tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    """The real server is understood as the stand-in is."""
    config = vault_config(openbao, await new_mount(openbao), tmp_path)
    changed = VaultConfig.model_validate(config.model_dump() | changes)
    assert (await told(changed, tmp_path, real=True)).startswith(words)


@pytest.mark.real("openbao")
async def test_real_role_in_place_of_an_issuer(openbao: OpenBao, tmp_path: Path) -> None:
    """The name of a role is no issuer's."""
    mount = await new_mount(openbao)
    await openbao.call("POST", f"{mount.path}/roles/leaves", {"allow_any_name": True})
    config = vault_config(openbao, mount, tmp_path, issuer="leaves")
    assert (await told(config, tmp_path, real=True)).startswith("the mount has no issuer upstream.issuer")


@pytest.mark.real("openbao")
async def test_real_issuer_that_may_not_sign(openbao: OpenBao, tmp_path: Path) -> None:
    """The issuer lacks the usage, which the server tells as an error of its own."""
    mount = await new_mount(openbao)
    await openbao.call("POST", f"{mount.path}/issuer/default", {"issuer_name": "one", "usage": "read-only"})
    words = await told(vault_config(openbao, mount, tmp_path), tmp_path, real=True)
    assert words.startswith("the issuer may not sign certificates")
    assert words.endswith("; add issuing-certificates to its usage, or give another one in upstream.issuer")


@pytest.mark.real("openbao")
async def test_real_issuer_that_ends_soon(openbao: OpenBao, tmp_path: Path) -> None:
    """A root with a minute left, which the server would sign beyond."""
    mount = await new_mount(openbao, root_ttl="60s")
    words = await told(vault_config(openbao, mount, tmp_path), tmp_path, real=True)
    assert words.startswith("the issuer, or what is above it, ends too soon to sign for us")


@pytest.mark.real("openbao")
async def test_real_wrong_token(openbao: OpenBao, tmp_path: Path) -> None:
    """A token that the server does not know."""
    (tmp_path / "token").write_text("s.wrong")
    login = {"token": {"file": str(tmp_path / "token")}}
    config = vault_config(openbao, await new_mount(openbao), tmp_path, login=login)
    words = await told(config, tmp_path, real=True)
    assert words.startswith(f"the server does not log us in (by the token in {tmp_path}/token)")
    assert "s.wrong" not in words


@pytest.mark.real("openbao")
async def test_real_secret_id_used_up(openbao: OpenBao, tmp_path: Path) -> None:
    """A secret id for one login, which somebody else had."""
    mount = await new_mount(openbao, token={"secret_id_num_uses": 1})
    login = {"role_id": mount.role_id, "secret_id": mount.secret_id.reveal()}
    await openbao.call("POST", "auth/approle/login", login)
    words = await told(vault_config(openbao, mount, tmp_path), tmp_path, real=True)
    assert words.startswith(f"the server does not log us in (as the role {mount.role_id}")

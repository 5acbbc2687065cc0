"""`meshca vault` against a real OpenBao: what it finds, and that what it prints can be used as it is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from meshca.app.openbao_mount import sign_leaves
from meshca.app.openbao_process import OpenBao
from meshca.app.vault import check, conformance, known, least_policy
from meshca.cli.doctor import line
from meshca.doctor.finding import Finding, Verdict
from meshca.doctor.vault_checks import CHECKS, LEAF_CHECKS, SIGNING_CHECKS
from meshca.errors import ConfigError
from meshca.upstream.kept_folder import KeptFolder
from meshca.upstream.vault.faults import TABLE, Fault
from meshca.upstream.vault.policy import LEAF_ROLE
from tests.fakes.pki import make_ca
from tests.fakes.vault_replies import hanging
from tests.fakes.vault_server import serving_vault
from tests.real.openbao import Mount, new_mount, own_openbao, vault_config

ROLE = {"role": "mesh-leaf"}
REPORT = (Path(__file__).parent / "vault_conformance.txt").read_text()


def written(folder: Path, server: OpenBao, mount: Mount, **changes: Any) -> Path:
    """A server's configuration with this Vault."""
    upstream = vault_config(server, mount, folder, **changes).model_dump(mode="json", exclude_none=True)
    path = folder / "meshca.yaml"
    path.write_text(yaml.safe_dump({"data_dir": str(folder / "data"), "upstream": upstream}))
    return path


async def verdicts(found: AsyncIterator[Finding]) -> Mapping[str, Verdict]:
    """Of each."""
    return {one.name: one.verdict async for one in found}


async def least(server: OpenBao, mount: Mount, config: Path) -> None:
    """Give our role the policy that is printed, as it is printed."""
    await server.call("PUT", f"sys/policies/acl/{mount.path}", {"policy": least_policy(config, {}).text})


@pytest.mark.real("openbao")
async def test_the_printed_policy_is_enough_and_no_more(openbao: OpenBao, tmp_path: Path) -> None:
    """With it every check is ok, but for the one that it does not allow; none needs more."""
    mount = await new_mount(openbao, token={"token_no_default_policy": True})
    config = written(tmp_path, openbao, mount)
    await least(openbao, mount, config)
    found = await verdicts(check(config, 20, sign=True, environ={}))
    assert found == dict.fromkeys(SIGNING_CHECKS, Verdict.OK) | {"vault-mount": Verdict.UNKNOWN}


@pytest.mark.real("openbao")
async def test_the_root_token_is_too_much(openbao: OpenBao, tmp_path: Path) -> None:
    """It may do everything, and then the mount's maximum is readable."""
    token = tmp_path / "token"
    token.write_text(openbao.root_token.reveal())
    config = written(tmp_path, openbao, await new_mount(openbao), login={"token": {"file": str(token)}})
    found = await verdicts(check(config, 20, sign=False, environ={}))
    assert found == dict.fromkeys(CHECKS, Verdict.OK) | {"vault-policy": Verdict.WRONG}


@pytest.mark.real("openbao")
async def test_a_maximum_that_is_too_small(openbao: OpenBao, tmp_path: Path) -> None:
    """The mount and what it signs are wrong, and both are mended by what is told."""
    mount, token = await new_mount(openbao), tmp_path / "token"
    token.write_text(openbao.root_token.reveal())
    config = written(tmp_path, openbao, mount, login={"token": {"file": str(token)}})
    await openbao.call("POST", f"sys/mounts/{mount.path}/tune", {"max_lease_ttl": "24h"})
    found = {one.name: one async for one in check(config, 20, sign=True, environ={})}
    assert found["vault-mount"].found == "max_lease_ttl is 1d, upstream.intermediate_lifetime is 30d"
    assert found["vault-signature"].found.endswith("shorter than the 30d that were asked for")
    seconds = found["vault-mount"].mend[0].removeprefix("bao secrets tune -max-lease-ttl=").split()[0]
    await openbao.call("POST", f"sys/mounts/{mount.path}/tune", {"max_lease_ttl": seconds})
    mended = await verdicts(check(config, 20, sign=True, environ={}))
    assert mended["vault-mount"] is mended["vault-signature"] is Verdict.OK


@pytest.mark.real("openbao")
async def test_an_issuer_that_ends_too_soon(openbao: OpenBao, tmp_path: Path) -> None:
    """Its root is wrong, and an intermediate is cut short to it."""
    mount = await new_mount(openbao, root_ttl="240h")
    config = written(tmp_path, openbao, mount)
    await least(openbao, mount, config)
    found = {one.name: one async for one in check(config, 20, sign=True, environ={})}
    assert found["vault-root"].found.endswith(", less than upstream.intermediate_lifetime (30d)")
    assert found["vault-signature"].found.endswith("shorter than the 30d that were asked for")
    assert [one.name for one in found.values() if one.verdict is Verdict.WRONG] == [
        "vault-root",
        "vault-signature",
    ]


@pytest.mark.real("openbao")
async def test_a_wildcard_is_too_much(openbao: OpenBao, tmp_path: Path) -> None:
    """What a stolen token could do is named."""
    mount = await new_mount(openbao)
    config = written(tmp_path, openbao, mount)
    broad = f'path "{mount.path}/*" {{ capabilities = ["create", "update", "read"] }}'
    await openbao.call("PUT", f"sys/policies/acl/{mount.path}", {"policy": broad})
    found = {one.name: one.mend async for one in check(config, 20, sign=False, environ={})}
    told = "; ".join(found["vault-policy"])
    for named in ("sign-verbatim: a stolen token could have any certificate signed as it asks", "make roles"):
        assert named in told


@pytest.mark.real("openbao")
async def test_an_issuer_that_may_not_sign(openbao: OpenBao, tmp_path: Path) -> None:
    """Its usage says so, and so does a dry signature."""
    mount = await new_mount(openbao)
    config = written(tmp_path, openbao, mount)
    await least(openbao, mount, config)
    await openbao.call("POST", f"{mount.path}/issuer/one", {"issuer_name": "one", "usage": "read-only"})
    found = await verdicts(check(config, 20, sign=True, environ={}))
    assert {name for name, verdict in found.items() if verdict is Verdict.WRONG} == {
        "vault-issuer",
        "vault-signature",
    }


async def leaves_signed(server: OpenBao, folder: Path, **role: object) -> tuple[Mount, Path]:
    """A mount that signs leaves by a role with these options changed, and the least policy."""
    mount = await new_mount(server, token={"token_no_default_policy": True})
    config = written(folder, server, mount, sign_leaves=ROLE)
    await sign_leaves(server, mount, ROLE["role"], "cluster.local")
    options = {**LEAF_ROLE, "allowed_uri_sans": ["spiffe://cluster.local/ns/*"], **role}
    await server.call("POST", f"{mount.path}/roles/{ROLE['role']}", options)
    await least(server, mount, config)
    return mount, config


@pytest.mark.real("openbao")
async def test_leaves_by_the_printed_role(openbao: OpenBao, tmp_path: Path) -> None:
    """With the printed role and policy every check is ok, the leaf too; a modest max_ttl does not matter."""
    _, config = await leaves_signed(openbao, tmp_path, max_ttl="1h")
    found = await verdicts(check(config, 20, sign=True, environ={}))
    assert found == dict.fromkeys(LEAF_CHECKS, Verdict.OK) | {"vault-mount": Verdict.UNKNOWN}


@pytest.mark.real("openbao")
@pytest.mark.parametrize(
    ("role", "words"),
    [
        ({"allowed_uri_sans": ["spiffe://other/ns/*"]}, "the server refuses what we ask for"),
        ({"max_ttl": "1h", "not_after_bound": "ttl-limited"}, "the server refuses what we ask for"),
        ({"key_type": "rsa", "key_bits": 2048}, "the server refuses what we ask for"),
        ({"server_flag": False}, "X7: exactly the purposes of the profile"),
    ],
    ids=["another trust domain", "shorter than wanted", "other keys", "other purposes"],
)
async def test_leaves_by_another_role(
    openbao: OpenBao, tmp_path: Path, role: Mapping[str, object], words: str
) -> None:
    """Only the leaf is wrong, and why is told."""
    _, config = await leaves_signed(openbao, tmp_path, **role)
    found = {one.name: one async for one in check(config, 20, sign=True, environ={})}
    assert [name for name, one in found.items() if one.verdict is Verdict.WRONG] == ["vault-leaf"]
    assert words in found["vault-leaf"].found


@pytest.mark.real("openbao")
async def test_leaves_by_no_role(openbao: OpenBao, tmp_path: Path) -> None:
    """It is told that the role is not there."""
    mount, config = await leaves_signed(openbao, tmp_path)
    await openbao.call("DELETE", f"{mount.path}/roles/{ROLE['role']}")
    *_, last = [one async for one in check(config, 20, sign=True, environ={})]
    assert last.found.startswith("the mount has no role upstream.sign_leaves.role")


@pytest.mark.real("openbao")
async def test_leaves_with_addresses(openbao: OpenBao, tmp_path: Path) -> None:
    """A mount that puts addresses of CRLs into leaves signs none for us, until they are taken out as is told."""
    mount, config = await leaves_signed(openbao, tmp_path)
    kinds = ("issuing_certificates", "crl_distribution_points", "ocsp_servers")
    await openbao.call("POST", f"{mount.path}/config/urls", dict.fromkeys(kinds, "http://pki.example/"))
    *_, last = [one async for one in check(config, 20, sign=True, environ={})]
    assert (last.name, last.verdict) == ("vault-leaf", Verdict.WRONG)
    _, _, path, *settings = last.mend[1].split()
    await openbao.call("POST", path, dict(one.split("=") for one in settings))
    assert [one async for one in check(config, 20, sign=True, environ={})][-1].verdict is Verdict.OK


@pytest.mark.real("openbao")
async def test_another_root_than_the_first(openbao: OpenBao, tmp_path: Path) -> None:
    """Which root was accepted on first use is known from what the server keeps; where none may look, it is not."""
    mount = await new_mount(openbao)
    config = written(tmp_path, openbao, mount, roots={"accept": "first_use"})
    await least(openbao, mount, config)
    KeptFolder(tmp_path / "data", "vault").name([make_ca("first").certificate])
    assert (await verdicts(check(config, 20, sign=False, environ={})))["vault-root"] is Verdict.WRONG


def test_what_may_not_be_looked_at(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No root is known then."""

    def refused(_: KeptFolder, __: list[str]) -> None:
        raise PermissionError

    monkeypatch.setattr(KeptFolder, "named", refused)
    assert known(tmp_path) == ()


@pytest.mark.real("openbao")
async def test_a_sealed_server(tmp_path: Path) -> None:
    """It is told first, and each check ends."""
    async with own_openbao(tmp_path / "bao") as server:
        config = written(tmp_path, server, await new_mount(server))
        await server.seal()
        found = [one async for one in check(config, 20, sign=True, environ={})]
    assert (found[0].verdict, found[0].mend) == (Verdict.WRONG, ("unseal it",))
    assert len(found) == len(SIGNING_CHECKS)


@pytest.mark.real("openbao")
async def test_conformance_of_openbao(openbao: OpenBao, tmp_path: Path) -> None:
    """Every fact, as it is for OpenBao, with its moments taken out; the root ends before the mount's maximum."""
    mount = await new_mount(openbao, root_ttl="8760h")
    config = written(tmp_path, openbao, mount)
    await least(openbao, mount, config)
    found = [one async for one in conformance(config, 20, {})]
    assert "\n".join(_timeless(line(one, coloured=False)) for one in found) + "\n" == REPORT


def _timeless(text: str) -> str:
    return " ".join("TIME" if word.strip("(),").endswith("+00:00") else word for word in text.split(" "))


async def test_a_server_that_hangs(tmp_path: Path) -> None:
    """Is found as such, though the time of a check is that of a call or less."""
    async with serving_vault() as vault:
        upstream = vault.config(tmp_path, timeout="200ms").model_dump(mode="json", exclude_none=True)
        path = tmp_path / "meshca.yaml"
        path.write_text(yaml.safe_dump({"data_dir": str(tmp_path / "data"), "upstream": upstream}))
        vault.always(hanging)
        found = [one async for one in check(path, 0.1, sign=False, environ={})]
    assert (found[0].name, found[0].verdict, found[0].mend) == (
        "vault-server",
        Verdict.WRONG,
        (TABLE[Fault.TIMEOUT].remedy,),
    )


def test_another_upstream(tmp_path: Path) -> None:
    """There is no Vault to ask."""
    path = tmp_path / "meshca.yaml"
    path.write_text("data_dir: data\n")
    with pytest.raises(ConfigError) as caught:
        least_policy(path, {})
    assert caught.value.problems == ("upstream.kind is not vault: this command asks the Vault that signs for us",)

"""`meshca vault` against a real OpenBao: what it finds, and that what it prints can be used as it is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from meshca.app.openbao_process import OpenBao
from meshca.app.vault import check, conformance, known, policy_text
from meshca.cli.doctor import line
from meshca.doctor.finding import Finding, Verdict
from meshca.doctor.vault_checks import CHECKS, SIGNING_CHECKS
from meshca.errors import ConfigError
from meshca.upstream.kept_folder import KeptFolder
from tests.fakes.pki import make_ca
from tests.real.openbao import Mount, new_mount, own_openbao, vault_config

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
    await server.call("PUT", f"sys/policies/acl/{mount.path}", {"policy": policy_text(config, {})})


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


def test_another_upstream(tmp_path: Path) -> None:
    """There is no Vault to ask."""
    path = tmp_path / "meshca.yaml"
    path.write_text("data_dir: data\n")
    with pytest.raises(ConfigError) as caught:
        policy_text(path, {})
    assert caught.value.problems == ("upstream.kind is not vault: this command asks the Vault that signs for us",)

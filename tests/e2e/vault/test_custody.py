"""Where the key below Vault is kept, under a real server with two workers and a real OpenBao."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from meshca.app.openbao_process import OpenBao
from meshca.keystore.token_uri import Token
from tests.real.dev_server import running_server
from tests.real.openbao import new_mount, vault_config

pytestmark = pytest.mark.real("openbao")


async def settings(openbao: OpenBao, folder: Path, **changes: Any) -> dict[str, str]:
    """Of a server with two workers below a mount of its own."""
    config = vault_config(openbao, await new_mount(openbao), folder, **changes)
    return {
        "MESHCA__WORKERS": "2",
        "MESHCA__UPSTREAM": json.dumps(config.model_dump(mode="json", exclude_none=True)),
    }


async def signers(folder: Path, setting: dict[str, str]) -> list[str]:
    """What signed ten leaves, some of each worker, before the server was killed and after it was started again."""
    found = []
    for _ in range(2):
        (folder / "ready").unlink(missing_ok=True)
        with running_server(folder, settings=setting) as server:
            issued = [await server.create(server.token()) for _ in range(10)]
            server.stop(signal.SIGKILL)
        [one] = {each.answer.cert_chain[1] for each in issued}
        found.append(one)
    return found


def kept(folder: Path) -> list[str]:
    """The files of what is kept."""
    return [path.read_text() for path in folder.rglob("vault/*.json")]


@pytest.mark.real("softhsm")
async def test_token(openbao: OpenBao, softhsm: Token, tmp_path: Path) -> None:
    """With the key in a token both workers sign by it, and a server that was killed finds it again."""
    place = {"module": str(softhsm.module), "token": softhsm.label, "pin_file": str(softhsm.pin_file)}
    token = {**place, "key_label": str(tmp_path)}
    setting = await settings(openbao, tmp_path, custody="pkcs11", custody_token=token)
    before, after = await signers(tmp_path / "ca", setting)
    assert before == after
    [text] = kept(tmp_path)
    assert "PRIVATE" not in text


async def test_file(openbao: OpenBao, tmp_path: Path) -> None:
    """With the key in the data directory a server that was killed signs by the same intermediate."""
    setting = await settings(openbao, tmp_path)
    before, after = await signers(tmp_path / "ca", setting)
    assert before == after


async def test_memory(openbao: OpenBao, tmp_path: Path) -> None:
    """With the key in memory each start has another, and none is in a file."""
    setting = await settings(openbao, tmp_path, custody="memory")
    before, after = await signers(tmp_path / "ca", setting)
    assert before != after
    assert kept(tmp_path) == []

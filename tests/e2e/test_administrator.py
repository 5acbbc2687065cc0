"""The administrator's commands against a real server."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.real.dev_server import MESHCA, Server, running_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests here."""
    with running_server(tmp_path_factory.mktemp("dev"), settings={"MESHCA__WORKERS": "1"}) as server:
        yield server


def meshca(server: Server, *arguments: str) -> Any:
    """What a command says of the server, as JSON."""
    environment = {**os.environ, "MESHCA_ADMIN_SOCKET": server.endpoint("endpoint-admin")}
    run = [*MESHCA, *arguments, "--output", "json"]
    return json.loads(subprocess.run(run, check=True, capture_output=True, text=True, env=environment).stdout)


def test_status_shows_the_server(server: Server) -> None:
    """Its certificates, its workers, and nothing amiss."""
    status = meshca(server, "status")
    assert [one["kind"] for one in status["certificates"]] == ["root", "intermediate", "serving"]
    assert [(one["name"], one["ready"]) for one in status["workers"]] == [("w0", True)]
    assert {status[f"{what}_error"] for what in ("config", "admission", "authority", "store")} == {""}


def test_the_ledger_shows_what_was_issued(server: Server) -> None:
    """By a token first, then by that certificate; the chain of proofs can be followed."""
    first = asyncio.run(server.create(server.token("shop", "web")))
    second = asyncio.run(server.create(shown=first))
    renewed, begun = meshca(server, "ledger", "list", "--namespace", "shop", "--result", "issued")
    assert (begun["proven_by"], begun["parent_serial"], begun["serial"]) == (
        "jwks",
        "",
        f"{first.leaf.serial_number:x}",
    )
    assert (renewed["proven_by"], renewed["parent_serial"], renewed["serial"]) == (
        "client_cert",
        begun["serial"],
        f"{second.leaf.serial_number:x}",
    )
    assert renewed["token_id"] == begun["token_id"] != ""
    assert meshca(server, "ledger", "show", begun["serial"]) == begun


def test_the_socket_is_private(server: Server) -> None:
    """For the server's own user only."""
    assert Path(server.endpoint("endpoint-admin")).stat().st_mode & 0o777 == 0o600

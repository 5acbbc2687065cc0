"""A CA from files under a real server: changed in place by a swap, as the kubelet changes a mounted Secret."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.fakes.cacerts import Projected, cacerts, write
from tests.fakes.pki import DAY, Ca, make_ca
from tests.real.dev_server import MESHCA, Certificate, Server, running_server, wait_for
from tests.real.unprivileged import bound

BEGIN = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)


def ca(name: str, issuer: Ca | None = None) -> Ca:
    """A CA of today."""
    return make_ca(name, issuer, begin=BEGIN, end=BEGIN + 30 * DAY)


ROOT = ca("root")
FIRST, SECOND = ca("first", ROOT), ca("second", ROOT)
OTHER_ROOT = ca("other root")


@pytest.fixture
def volume(tmp_path: Path) -> Projected:
    """A mounted Secret with the first intermediate."""
    made = Projected(tmp_path / "cacerts")
    made.swap(cacerts(FIRST, roots=(ROOT,)))
    return made


@pytest.fixture
def server(tmp_path: Path, volume: Projected) -> Iterator[Server]:
    """A server with two workers that signs by it."""
    settings = {"MESHCA__WORKERS": "2", "MESHCA__UPSTREAM": f"{{kind: files, dir: {volume.folder}}}"}
    with running_server(tmp_path / "ca", settings=settings) as running:
        yield running


def signed_by(issuer: Ca) -> Callable[[Certificate], bool]:
    """Whether an intermediate signed a certificate."""
    return lambda found: found.leaf.issuer == issuer.certificate.subject


async def eventually(server: Server, holds: Callable[[Certificate], bool], in_a_row: int = 10) -> None:
    """Issue until certificates are as wanted so often in a row that each worker has made some."""
    row = 0
    for _ in range(400):
        row = row + 1 if holds(await server.create(server.token())) else 0
        if row == in_a_row:
            return
        await asyncio.sleep(0.02)
    raise AssertionError("waited in vain")


def authority_error(server: Server) -> str:
    """Why the newest material is not in force, as the administrator sees it."""
    environment = {**os.environ, "MESHCA_ADMIN_SOCKET": server.endpoint("endpoint-admin")}
    run = [*MESHCA, "status", "--output", "json"]
    found = subprocess.run(run, check=False, capture_output=True, text=True, env=environment)
    return str(json.loads(found.stdout)["authority_error"])


async def test_new_intermediate_is_taken_live(server: Server, volume: Projected) -> None:
    """A swapped intermediate under the same root signs without a restart; what the old one signed still renews."""
    held = await server.create(server.token())
    assert signed_by(FIRST)(held)
    volume.swap(cacerts(SECOND, roots=(ROOT,)))
    await eventually(server, signed_by(SECOND))
    renewed = await server.create(shown=held)
    assert (renewed.spiffe_id, signed_by(SECOND)(renewed)) == (held.spiffe_id, True)
    assert renewed.answer.cert_chain[-1] == ROOT.pem
    assert authority_error(server) == ""


async def test_changed_root_is_no_jump(server: Server, volume: Projected) -> None:
    """Another root is handed out beside the old one and signs nothing yet; a root that is damaged is refused."""
    volume.swap(cacerts(ca("third", OTHER_ROOT), roots=(OTHER_ROOT,)))

    def both(found: Certificate) -> bool:
        roots = found.answer.cert_chain[-1]
        return signed_by(FIRST)(found) and ROOT.pem in roots and OTHER_ROOT.pem in roots

    await eventually(server, both)
    assert authority_error(server) == ""
    volume.swap({**cacerts(ca("fourth", OTHER_ROOT), roots=(OTHER_ROOT,)), "root-cert.pem": "damaged"})
    await asyncio.to_thread(wait_for, lambda: "root-cert.pem" in authority_error(server))
    failures = 'meshca_reload_failures_total{what="upstream"}'
    await asyncio.to_thread(wait_for, lambda: server.metric(failures) >= 1)  # shown once a second
    assert both(await server.create(server.token()))


@pytest.mark.real("unprivileged")
def test_folder_that_may_not_be_entered(tmp_path: Path) -> None:
    """Status names every file and what to do, the signer goes on, and it heals when the folder opens again."""
    folder = tmp_path / "cacerts"
    write(folder, cacerts(FIRST, roots=(ROOT,)))
    settings = {"MESHCA__WORKERS": "1", "MESHCA__UPSTREAM": f"{{kind: files, dir: {folder}}}"}
    with running_server(tmp_path / "ca", settings=settings, through=bound()) as server:
        folder.chmod(0)
        wait_for(lambda: authority_error(server))
        shown = authority_error(server)
        folder.chmod(0o700)
        wait_for(lambda: not authority_error(server))
        assert server.http("/readyz")[0] == 200
        assert not [line for line in server.log() if line["event"] == "background.failed"]
    assert shown.count("cannot be read (Permission denied); give it") == 4

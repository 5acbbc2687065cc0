"""A plugged-in intermediate that runs out: said in time, and no longer once a newer one is there."""

from __future__ import annotations

import json
import os
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.fakes.cacerts import Projected, cacerts
from tests.fakes.pki import DAY, Ca, make_ca
from tests.real.dev_server import MESHCA, Server, running_server, wait_for

BEGIN = datetime.now(UTC).replace(microsecond=0) - DAY
ROOT = make_ca("root", begin=BEGIN, end=BEGIN + 3650 * DAY)


def signer(name: str, left: timedelta) -> Ca:
    """An intermediate of which so much is left now; when these files are read may be long ago."""
    return make_ca(name, ROOT, begin=BEGIN, end=datetime.now(UTC).replace(microsecond=0) + left)


def warning(server: Server) -> str:
    """What the administrator is told of an end."""
    environment = {**os.environ, "MESHCA_ADMIN_SOCKET": server.endpoint("endpoint-admin")}
    run = [*MESHCA, "status", "--output", "json"]
    found = subprocess.run(run, check=True, capture_output=True, text=True, env=environment)
    return str(json.loads(found.stdout)["ending_warning"])


def test_said_until_a_newer_one_is_there(tmp_path: Path) -> None:
    """Log and status name the folder that a new intermediate belongs into; with it there nothing is wrong."""
    volume = Projected(tmp_path / "cacerts")
    volume.swap(cacerts(signer("old", timedelta(minutes=10)), roots=(ROOT,)))
    settings = {"MESHCA__WORKERS": "1", "MESHCA__UPSTREAM": f"{{kind: files, dir: {volume.folder}}}"}
    with running_server(tmp_path / "ca", settings=settings) as server:
        wait_for(lambda: f"put a new intermediate into {volume.folder}" in warning(server))
        (line,) = server.logged("signer.ending")
        assert line["detail"] == warning(server)
        volume.swap(cacerts(signer("new", 90 * DAY), roots=(ROOT,)))
        wait_for(lambda: warning(server) == "")

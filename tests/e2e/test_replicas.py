"""Three real servers on one PostgreSQL change a plugged-in root: one drives, all follow, any may die."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any

import grpc
import pytest

from meshca.app.admin_client import connect
from meshca.authority.material import certificate_id
from tests.fakes.cacerts import Projected, cacerts
from tests.fakes.pki import DAY, Ca, make_ca
from tests.real.cable import cable
from tests.real.dev_server import MESHCA, Server, reason, refused, running_server, wait_for
from tests.real.postgresql import PASSWORD, Cluster
from tests.store.postgres.opening import fresh_database

pytestmark = pytest.mark.real("postgresql")
NAMES = ("one", "two", "three")
SETTINGS = {
    "MESHCA__WORKERS": "1",
    "MESHCA__SVID__DEFAULT_LIFETIME": "20s",
    "MESHCA__SVID__MAX_LIFETIME": "20s",
    "MESHCA__ROTATION__SETTLE": "1s",
}


def ca(name: str, issuer: Ca | None = None) -> Ca:
    """A CA that begins now: nothing was signed below it before."""
    begin = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=1)
    return make_ca(name, issuer, begin=begin, end=begin + 30 * DAY)


@dataclass(slots=True, kw_only=True)
class Replicas:
    """Three servers over one folder of a plugged-in CA and one database; one may have a folder of its own."""

    folder: Path
    urls: dict[str, str]
    volume: Projected
    stack: contextlib.ExitStack
    own: dict[str, Projected] = field(default_factory=dict)
    servers: dict[str, Server] = field(default_factory=dict)

    def start(self, name: str) -> None:
        """Start one, for the first time or again."""
        settings = {
            **SETTINGS,
            "MESHCA__REPLICA": name,
            "MESHCA__LEDGER__URL": self.urls[name],
            "MESHCA__UPSTREAM": f"{{kind: files, dir: {self.own.get(name, self.volume).folder}}}",
        }
        server = self.stack.enter_context(running_server(self.folder / name, settings=settings))
        (server.folder / "root.pem").write_text(OLD.pem + NEW.pem)  # callers that know both
        self.servers[name] = server

    def kill(self, name: str) -> None:
        """End one and its workers as a machine that loses its power does."""
        server = self.servers.pop(name)
        server.process.kill()
        server.process.wait()
        (server.folder / "ready").unlink()  # what it left says nothing of the next one

    def asked(self, name: str, *command: str) -> dict[str, Any]:
        """What `meshca <command>` says of one."""
        environment = {**os.environ, "MESHCA_ADMIN_SOCKET": self.servers[name].endpoint("endpoint-admin")}
        run = [*MESHCA, *command, "--output", "json"]
        done = subprocess.run(run, check=False, capture_output=True, text=True, env=environment)
        return dict(json.loads(done.stdout)) if done.returncode == 0 else {}

    def states(self, name: str) -> list[str]:
        """Of the roots, as one sees them, oldest first."""
        authorities = self.asked(name, "root", "status").get("authorities", [])
        return [one["record"]["state"] for one in authorities if one["record"]["kind"] == "root"]

    def seen(self, name: str) -> int:
        """How many workloads one knows of."""
        return int((self.asked(name, "root", "status").get("fleet") or {}).get("seen", 0))

    def gate(self, name: str) -> str:
        """What one says of the gate that is waited for."""
        return str((self.asked(name, "root", "status").get("gate") or {}).get("why", ""))

    def driver(self) -> str:
        """Who takes steps, as all agree."""
        seen = {self.driver_by(name) for name in self.servers}
        return seen.pop() if len(seen) == 1 else ""

    def leader(self) -> str:
        """Who takes steps, once all agree."""
        told: list[str] = []

        def agreed() -> bool:
            told.append(self.driver())
            return told[-1] in self.servers

        wait_for(agreed, 30)
        return told[-1]

    def driver_by(self, name: str) -> str:
        """Who takes steps, as one sees it."""
        return str(self.asked(name, "root", "status").get("driven_by", ""))

    async def call(self) -> None:
        """Have a certificate of each: whoever calls is given the roots in force."""
        for server in self.servers.values():
            await server.create(server.token())

    async def until(self, holds: Callable[[], bool]) -> None:
        """Go on calling, which must never fail, until something holds."""
        async with asyncio.timeout(180):
            while not await asyncio.to_thread(holds):
                await self.call()
                await asyncio.sleep(0.2)


OLD, NEW = ca("old root"), ca("new root")


@pytest.fixture
def database(postgresql: Cluster) -> Iterator[str]:
    """An empty one."""
    with fresh_database(postgresql) as made:
        yield made


@pytest.fixture
def replicas(tmp_path: Path, postgresql: Cluster, database: str) -> Iterator[Replicas]:
    """Not yet started."""
    volume = Projected(tmp_path / "cacerts")
    volume.swap(cacerts(ca("old signer", OLD), roots=(OLD,)))
    urls = dict.fromkeys(NAMES, postgresql.url(database))
    with contextlib.ExitStack() as stack:
        yield Replicas(folder=tmp_path, urls=urls, volume=volume, stack=stack)


def all_signed_by_new(replicas: Replicas) -> bool:
    """Whether every replica says that only the new root is left."""
    return all(replicas.states(name) == ["retired", "active"] for name in replicas.servers)


async def test_the_driver_is_killed_at_each_step(replicas: Replicas) -> None:
    """Another goes on where it was, nobody is refused a certificate, and all three end below the new root."""
    for name in NAMES:
        replicas.start(name)
    await asyncio.to_thread(wait_for, lambda: replicas.driver() in NAMES, 30)
    await replicas.call()  # a workload that knows the old root only holds the plan at its first step
    await asyncio.to_thread(wait_for, lambda: replicas.seen("one") == 1, 15)
    replicas.volume.swap(cacerts(ca("new signer", NEW), roots=(NEW,)))
    await asyncio.to_thread(wait_for, lambda: replicas.states("one")[1:] == ["distributing"], 15)
    for state in ("distributing", "active"):
        witness = next(iter(replicas.servers))
        await replicas.until(lambda state=state, name=witness: replicas.states(name)[1:] == [state])  # type: ignore[misc]
        driver = await asyncio.to_thread(replicas.leader)
        replicas.kill(driver)
        await asyncio.to_thread(wait_for, lambda gone=driver: replicas.driver() not in {"", gone}, 60)
        replicas.start(driver)
    await replicas.until(lambda: all_signed_by_new(replicas))
    for server in replicas.servers.values():
        held = await server.create(server.token())
        assert held.answer.cert_chain[-1] == NEW.pem


async def test_a_replica_is_cut_off(
    replicas: Replicas, postgresql: Cluster, database: str, tmp_path: Path
) -> None:
    """It goes on issuing below what it knew, does not lead, and follows once it is back."""
    (tmp_path / "password").write_text(PASSWORD)
    async with cable(postgresql.port) as way:
        replicas.urls["one"] = f"{postgresql.tcp_url(database, port=way.port)}?password_file={tmp_path}/password"
        for name in NAMES:
            await asyncio.to_thread(replicas.start, name)
        await asyncio.to_thread(wait_for, lambda: replicas.driver() in NAMES, 30)
        way.pull()
        await asyncio.to_thread(
            wait_for, lambda: replicas.asked("two", "root", "status")["driven_by"] != "one", 30
        )
        replicas.volume.swap(cacerts(ca("new signer", NEW), roots=(NEW,)))
        await replicas.until(lambda: len(replicas.states("two")) == len((OLD, NEW)))
        assert replicas.servers["one"].process.poll() is None
        way.plug()
        await replicas.until(lambda: all_signed_by_new(replicas))


async def test_a_replica_that_was_not_given_the_new_ca(replicas: Replicas) -> None:
    """It signs on while the old root retires and holds that up by its name; without that root it signs nothing.

    Nor does it lead then, though it has until then.
    """
    signer = ca("old signer", OLD)
    late = replicas.own["two"] = Projected(replicas.folder / "late")
    for volume in (replicas.volume, late):
        volume.swap(cacerts(signer, roots=(OLD,)))
    replicas.start("one")
    await asyncio.to_thread(wait_for, lambda: replicas.driver() == "one", 30)
    replicas.start("two")
    after = cacerts(ca("new signer", NEW), roots=(NEW,))
    replicas.volume.swap(after)
    await replicas.until(lambda: replicas.states("one") == ["retiring", "active"])
    await replicas.until(lambda: "replica two still signs below" in replicas.gate("one"))
    two = replicas.servers["two"]
    held = await two.create(two.token())
    assert (held.leaf.issuer, held.answer.cert_chain[-1]) == (signer.certificate.subject, OLD.pem + NEW.pem)
    assert "nothing signs below the root" in replicas.asked("two", "status")["authority_error"]
    replicas.kill("one")
    await asyncio.to_thread(wait_for, lambda: replicas.driver_by("two") == "two", 30)
    await asyncio.to_thread(replicas.start, "one")
    async with connect(Path(replicas.servers["one"].endpoint("endpoint-admin"))) as one:
        old = certificate_id(OLD.certificate)
        await one.roots.retire(old, force=True, reason="it shall not be waited for")
    await asyncio.to_thread(wait_for, lambda: two.http("/readyz")[0] == HTTPStatus.SERVICE_UNAVAILABLE, 30)
    await asyncio.to_thread(wait_for, lambda: replicas.driver() == "one", 30)
    error = await refused(two.create(two.token()))
    assert (error.code(), reason(error)) == (grpc.StatusCode.UNAVAILABLE, "no_signer")
    (told,) = {worker["detail"] for worker in two.workers()}
    assert "not trusted any more; give this replica what signs below the active one" in told
    late.swap(after)
    await asyncio.to_thread(wait_for, lambda: two.http("/readyz")[0] == HTTPStatus.OK, 30)
    assert (await two.create(two.token())).answer.cert_chain[-1] == NEW.pem


async def test_a_driver_that_was_not_given_the_new_ca(replicas: Replicas) -> None:
    """It does not give up what another was given; once it is given it too, all goes on."""
    late = replicas.own["one"] = Projected(replicas.folder / "late")
    for volume in (replicas.volume, late):
        volume.swap(cacerts(ca("old signer", OLD), roots=(OLD,)))
    replicas.start("one")
    await asyncio.to_thread(wait_for, lambda: replicas.driver() == "one", 30)
    replicas.start("two")
    after = cacerts(ca("new signer", NEW), roots=(NEW,))
    replicas.volume.swap(after)
    held = replicas.servers["one"].logged
    (told,) = await asyncio.to_thread(held, "rotation.held")
    assert "is not in the CA of this replica, and two may have it" in told["detail"]
    assert replicas.states("two") == ["active", "prepared"]
    late.swap(after)
    await replicas.until(lambda: all_signed_by_new(replicas))

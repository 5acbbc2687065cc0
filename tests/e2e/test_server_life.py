"""How a real server starts, reloads, survives and ends."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
import yaml
from grpc_health.v1 import health_pb2, health_pb2_grpc

from meshca.admission.parse import shipped_text
from meshca.app.dev_issuer import DevIssuer
from meshca.clock import SystemClock
from meshca.config.authn import KeysConfig
from tests.real.dev_server import (
    MESHCA,
    START_SECONDS,
    Certificate,
    Server,
    reason,
    refused,
    running_server,
    wait_for,
)
from tests.real.slow_keys import SlowKeys, slow_keys

ONE = {"MESHCA__WORKERS": "1"}
TWO = {"MESHCA__WORKERS": "2"}
RELOADS = 'meshca_reload_failures_total{{what="{}"}}'


def lifetime(certificate: Certificate) -> timedelta:
    """What is left of a fresh certificate, the back-dating taken off."""
    leaf = certificate.leaf
    return leaf.not_valid_after_utc - leaf.not_valid_before_utc - timedelta(minutes=2)


async def eventually(server: Server, holds: Callable[[Certificate], bool]) -> None:
    """Issue until a certificate is as wanted; every call must be answered."""
    for _ in range(300):
        if holds(await server.create(server.token())):
            return
        await asyncio.sleep(0.05)
    raise AssertionError("waited in vain")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with two workers."""
    with running_server(tmp_path_factory.mktemp("ca"), settings=TWO) as running:
        yield running


class TestWorkers:
    """Several processes on one port, watched by one parent."""

    @pytest.fixture
    def server(self, pair: Server) -> Server:
        """A server with two workers."""
        return pair

    async def test_both_answer(self, server: Server) -> None:
        """Connections are spread over the workers: certificates of both come back."""
        prefixes = {(await server.create(server.token())).leaf.serial_number >> 128 for _ in range(40)}
        assert len(prefixes) == 2

    async def test_killed_worker_is_replaced(self, server: Server) -> None:
        """After kill -9 of a worker its place is filled again, and the restart is counted."""
        victim = server.workers()[0]["pid"]
        os.kill(victim, signal.SIGKILL)
        wait_for(lambda: server.http("/readyz")[0] == 200 and victim not in _pids(server))
        assert server.metric("meshca_worker_restarts_total") >= 1
        assert (await server.create(server.token())).spiffe_id

    def test_all_workers_are_probed(self, server: Server) -> None:
        """Readiness names every worker; metrics say how many serve."""
        wait_for(lambda: server.http("/readyz")[0] == 200)
        assert [worker["ready"] for worker in server.workers()] == [True, True]
        assert server.metric("meshca_workers_ready") == 2
        assert server.http("/livez")[0] == 200


def _pids(server: Server) -> set[int]:
    return {worker["pid"] for worker in server.workers()}


def test_orphaned_workers_end(tmp_path: Path) -> None:
    """When the parent is killed its workers end by themselves."""
    with running_server(tmp_path / "ca", settings=TWO) as server:
        pids = _pids(server)
        server.process.kill()
        server.process.wait()
        wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))


def test_stop_leaves_nothing_that_says_ready(tmp_path: Path) -> None:
    """SIGTERM ends it with exit code 0; the files that say where it serves are gone."""
    with running_server(tmp_path / "ca", settings=ONE) as server:
        assert server.stop() == 0
    left = {path.name for path in (tmp_path / "ca").iterdir()}
    assert left.isdisjoint({"ready", "endpoint", "endpoint-mtls", "endpoint-http", "endpoint-admin"})


async def test_root_survives_a_restart(tmp_path: Path) -> None:
    """A restart keeps the root, and certificates of before go on renewing."""
    with running_server(tmp_path / "ca", settings=ONE) as server:
        root, held = server.root, await server.create(server.token())
        server.stop()
    with running_server(tmp_path / "ca", settings=ONE) as server:
        assert server.root == root
        assert (await server.create(shown=held)).spiffe_id == held.spiffe_id


class TestDrain:
    """SIGTERM: no new work, calls in flight answered, streams ended."""

    @pytest.fixture
    def keys(self) -> Iterator[SlowKeys]:
        """Key set whose answer waits."""
        with slow_keys() as keys:
            yield keys

    @pytest.fixture
    def server(self, tmp_path: Path, keys: SlowKeys) -> Iterator[Server]:
        """A server whose issuer's keys are slow: a call waits for them."""
        folder = tmp_path / "ca"
        issuer = DevIssuer.create(folder, SystemClock())
        keys.document = (folder / "jwks.json").read_bytes()
        config = issuer.config().model_copy(
            update={"keys": KeysConfig(url=keys.url, timeout=timedelta(seconds=60))}
        )
        issuers = yaml.safe_dump([config.model_dump(mode="json", exclude_none=True)])
        settings = {**ONE, "MESHCA__AUTHN__ISSUERS": issuers, "MESHCA__SERVING__DRAIN_TIMEOUT": "30s"}
        with running_server(folder, settings=settings) as running:
            yield running

    async def test_call_in_flight_is_answered(self, server: Server, keys: SlowKeys) -> None:
        """A call that was under way when SIGTERM came gets its certificate."""
        call = asyncio.create_task(server.create(server.token()))
        await asyncio.to_thread(keys.asked.wait, 20)
        await _in_flight(server)
        server.process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(wait_for, lambda: _logged(server, "server.stopping"))
        keys.given.set()
        assert (await call).spiffe_id
        assert await asyncio.to_thread(server.process.wait, 30) == 0

    async def test_second_signal_ends_at_once(self, server: Server, keys: SlowKeys) -> None:
        """A second SIGTERM does not wait for what is in flight."""
        call = asyncio.create_task(refused(server.create(server.token())))
        await asyncio.to_thread(keys.asked.wait, 20)
        await _in_flight(server)
        server.process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(wait_for, lambda: _logged(server, "server.stopping"))
        server.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(server.process.wait, 30) == 0
        assert (await call).code() is grpc.StatusCode.UNAVAILABLE


async def _in_flight(server: Server) -> None:
    """Return once a call has reached a handler: the health service answers on the same connection's worker."""
    for _ in range(3):
        async with server.channel() as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            await stub.Check(health_pb2.HealthCheckRequest())


def _logged(server: Server, event: str) -> bool:
    return any(line["event"] == event for line in server.log())


async def test_streams_end_with_unavailable(tmp_path: Path) -> None:
    """A stream is told to go elsewhere: UNAVAILABLE, health's too."""
    with running_server(tmp_path / "ca", settings=ONE) as server:
        async with server.channel() as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            watch = stub.Watch(health_pb2.HealthCheckRequest())
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
            server.process.send_signal(signal.SIGTERM)
            error = await refused(_read_all(watch))
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert await asyncio.to_thread(server.process.wait, 30) == 0


async def _read_all(stream: Any) -> None:
    while await stream.read():
        pass


class TestReload:
    """SIGHUP loads the configuration anew, or keeps everything as it is."""

    @pytest.fixture
    def server(self, tmp_path: Path) -> Iterator[Server]:
        """A server with two workers."""
        with running_server(tmp_path / "ca", settings=TWO) as running:
            yield running

    def change(self, server: Server, **sections: Any) -> None:
        """Edit the configuration file and tell the server."""
        path = server.folder / "meshca.yaml"
        tree = yaml.safe_load(path.read_text())
        for section, value in sections.items():
            tree[section] = {**tree[section], **value} if section in tree and isinstance(value, dict) else value
        path.write_text(yaml.safe_dump(tree))
        server.process.send_signal(signal.SIGHUP)

    async def test_good_one_replaces_the_workers(self, server: Server) -> None:
        """After a good change new workers follow it, and no call failed meanwhile."""
        before = _pids(server)
        self.change(server, svid={"default_lifetime": "1h"})
        await eventually(server, lambda found: lifetime(found) == timedelta(hours=1))
        await asyncio.to_thread(wait_for, lambda: _pids(server).isdisjoint(before))
        assert server.metric(RELOADS.format("config")) == 0

    async def test_log_level_holds_for_the_parent(self, tmp_path: Path) -> None:
        """A changed level is that of the parent as well, and back."""
        with running_server(tmp_path / "ca", settings=ONE) as server:
            pid = next(iter(_pids(server)))
            self.change(server, log={"level": "error"})
            await asyncio.to_thread(wait_for, lambda: pid not in _pids(server))
            await asyncio.to_thread(wait_for, lambda: len(server.workers()) == 1)
            quiet = len([line for line in server.log() if line["event"] == "reload.done"])
            (pid,) = _pids(server)
            self.change(server, log={"level": "info"})
            await asyncio.to_thread(wait_for, lambda: pid not in _pids(server))
            await asyncio.to_thread(wait_for, lambda: _logged(server, "reload.done"))
        assert quiet == 0

    @pytest.mark.parametrize(
        ("sections", "word"),
        [
            ({"svid": {"default_lifetime": "1 hour"}}, "svid.default_lifetime"),
            ({"colour": "red"}, "colour"),
            ({"listen": {"token": "127.0.0.1:1"}}, "listen"),
            ({"trust_domain": "other.example"}, "trust_domain"),
            ({"data_dir": "/nowhere"}, "data_dir"),
        ],
        ids=["bad value", "unknown key", "port", "trust domain", "data directory"],
    )
    async def test_bad_one_is_refused(self, server: Server, sections: dict[str, Any], word: str) -> None:
        """A bad change, or one that needs a restart, is refused by name; the old workers go on."""
        before = _pids(server)
        self.change(server, **sections)
        await asyncio.to_thread(wait_for, lambda: server.metric(RELOADS.format("config")) == 1)
        assert _pids(server) == before
        assert lifetime(await server.create(server.token())) == timedelta(hours=24)
        (line,) = await asyncio.to_thread(server.logged, "reload.refused")
        assert word in line["detail"]


def _write(path: Path, text: str) -> None:
    path.write_text(text)


def _when_made(folder: Path, path: Path, text: str) -> None:
    """Write a file as soon as the server has made a folder, which it does right after reading its files."""
    wait_for(folder.exists, START_SECONDS)
    path.write_text(text)


class TestFiles:
    """Files that the configuration names are taken live when they change."""

    RULES = """
rules:
  - name: nobody
    effect: refuse
    match: {namespaces: [shop]}
"""

    @pytest.fixture
    def rules(self, tmp_path: Path) -> Path:
        """A rule file that grants what the shipped one does."""
        path = tmp_path / "rules.yaml"
        path.write_text(shipped_text())
        return path

    @pytest.fixture
    def server(self, tmp_path: Path, rules: Path) -> Iterator[Server]:
        """A server with that file."""
        settings = {**ONE, "MESHCA__ADMISSION__FILE": str(rules)}
        with running_server(tmp_path / "ca", settings=settings) as running:
            yield running

    async def test_rules_are_taken_live(self, server: Server, rules: Path) -> None:
        """A changed rule file decides without a restart."""
        await server.create(server.token())
        _write(rules, self.RULES)
        error = await _first_refusal(server)
        assert (error.code(), reason(error)) == (grpc.StatusCode.PERMISSION_DENIED, "refused_by_rule")

    async def test_change_while_it_starts_is_taken(self, tmp_path: Path, rules: Path) -> None:
        """A rule file that changes after it was read and before the server serves comes into force."""
        settings = {**ONE, "MESHCA__ADMISSION__FILE": str(rules)}
        change = threading.Thread(target=_when_made, args=(tmp_path / "ca" / "data", rules, self.RULES))
        change.start()
        with running_server(tmp_path / "ca", settings=settings) as server:
            change.join()
            assert (await _first_refusal(server)).code() is grpc.StatusCode.PERMISSION_DENIED

    async def test_bad_rules_keep_the_good_ones(self, server: Server, rules: Path) -> None:
        """A rule file that does not parse changes nothing, and is counted."""
        _write(rules, "rules: [")
        await asyncio.to_thread(wait_for, lambda: server.metric(RELOADS.format("admission")) == 1)
        assert (await server.create(server.token())).spiffe_id
        assert await asyncio.to_thread(server.logged, "reload.refused")


async def _first_refusal(server: Server) -> grpc.aio.AioRpcError:
    """Issue until a call is refused."""
    for _ in range(300):
        try:
            await server.create(server.token())
        except grpc.aio.AioRpcError as error:
            return error
        await asyncio.sleep(0.02)
    raise AssertionError("every call was answered")


def started(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `meshca dev up` to its end."""
    command = [*MESHCA, "dev", "up", "--dir", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


class TestRefusedStarts:
    """A start that cannot succeed ends with exit code 2 and says what to do."""

    @pytest.fixture
    def server(self, pair: Server) -> Server:
        """A server that has the port and the folder."""
        return pair

    @pytest.mark.parametrize(
        ("option", "file", "name"),
        [
            ("--port", "endpoint", "listen.token"),
            ("--mtls-port", "endpoint-mtls", "listen.mtls"),
            ("--http-port", "endpoint-http", "listen.http"),
        ],
    )
    async def test_port_in_use(self, server: Server, tmp_path: Path, option: str, file: str, name: str) -> None:
        """A port on which another server's workers listen is refused by name; that server goes on."""
        port = server.endpoint(file).rpartition(":")[2]
        found = started(tmp_path / "second", option, port)
        assert found.returncode == 2
        assert f"{name}: 127.0.0.1:{port} is in use" in found.stderr
        assert "Traceback" not in found.stderr
        assert (await server.create(server.token())).spiffe_id

    async def test_folder_in_use(self, server: Server) -> None:
        """A folder that another server uses is refused; that server goes on, its files untouched."""
        found = started(server.folder)
        assert found.returncode == 2
        assert "is used by another meshca" in found.stderr
        assert (server.folder / "ready").exists()
        assert (await server.create(server.token())).spiffe_id


class TestRenewalOfItsOwn:
    """The server renews its own certificates while it serves."""

    async def test_serving_certificate(self, tmp_path: Path) -> None:
        """A renewed serving certificate is shown to new connections; no call fails."""
        settings = {**ONE, "MESHCA__SERVING__LIFETIME": "10s"}
        with running_server(tmp_path / "ca", settings=settings) as server:
            await eventually(server, lambda _: len(_serving_serials(server)) >= 2)

    async def test_intermediate(self, tmp_path: Path) -> None:
        """A new signing intermediate under the same root takes over; no call fails, the roots stay."""
        settings = {**ONE, "MESHCA__UPSTREAM": "{kind: self_signed, intermediate_lifetime: 8s}"}
        with running_server(tmp_path / "ca", settings=settings) as server:
            first = await server.create(server.token())
            root = server.root
            await eventually(server, lambda found: found.answer.cert_chain[1] != first.answer.cert_chain[1])
            assert server.root == root
            assert (await server.create(shown=await server.create(server.token()))).spiffe_id


def _serving_serials(server: Server) -> set[str]:
    return {line["serial"] for line in server.log() if line["event"] == "serving.renewed"}

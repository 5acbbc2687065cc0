"""A real server on a real PostgreSQL that goes away and comes back: it goes on issuing, and no record is lost."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.real.dev_server import Certificate, Server, running_server, wait_for
from tests.real.postgresql import Cluster, running_cluster

pytestmark = pytest.mark.real("postgresql")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A PostgreSQL that may be stopped."""
    with running_cluster() as own:
        yield own


@pytest.fixture(scope="module")
def url(cluster: Cluster) -> str:
    """Of an empty database."""
    return cluster.url(cluster.create())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, url: str) -> Iterator[Server]:
    """With two workers on it."""
    settings = {"MESHCA__WORKERS": "2", "MESHCA__LEDGER__URL": url}
    with running_server(tmp_path_factory.mktemp("ca"), settings=settings) as running:
        yield running


def recorded(url: str, *held: Certificate) -> int:
    """How many of these certificates the database has as issued."""
    serials = [f"{one.leaf.serial_number:x}" for one in held]
    query = "SELECT count(*) FROM issuance_outcome WHERE result = 'issued' AND serial = ANY(%s)"
    with psycopg.connect(url) as connection:
        row = connection.execute(query, (serials,)).fetchone()
    assert row is not None
    return int(row[0])


def spool(server: Server) -> list[Path]:
    """The files of records that wait."""
    return list(server.folder.rglob("spool/*.jsonl"))


async def test_certificates_are_recorded(server: Server, url: str) -> None:
    """Before anything goes wrong."""
    held = [await server.create(server.token()) for _ in range(4)]
    wait_for(lambda: recorded(url, *held) == 4)


async def test_a_lost_store_ends_no_issuing(server: Server, cluster: Cluster, url: str) -> None:
    """By token and by certificate; the server is ready, shows what waits, and brings it when the store is back."""
    before = await server.create(server.token())
    wait_for(lambda: recorded(url, before) == 1)
    cluster.stop("immediate")
    try:
        during = [await server.create(server.token()) for _ in range(6)]
        renewed = [await server.create(shown=one) for one in during]
        assert spool(server)
        wait_for(lambda: server.metric("meshca_ledger_spooled") >= 12)
        assert server.http("/readyz")[0] == 200
    finally:
        cluster.start()
    wait_for(lambda: not spool(server))
    wait_for(lambda: recorded(url, *during, *renewed) == 12)
    wait_for(lambda: server.metric("meshca_ledger_spooled") == 0)


async def test_a_worker_that_is_killed_meanwhile_loses_nothing(server: Server, cluster: Cluster, url: str) -> None:
    """Another one starts without the store, and any brings what the killed one had."""
    cluster.stop("immediate")
    try:
        held = [await server.create(server.token()) for _ in range(6)]
        killed = {worker["pid"] for worker in server.workers()}
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: _serve(server, killed), seconds=60)
        held.append(await server.create(server.token()))
    finally:
        cluster.start()
    wait_for(lambda: not spool(server))
    serials = [f"{one.leaf.serial_number:x}" for one in held]
    with psycopg.connect(url) as connection:
        query = "SELECT count(*) FROM issuance_intent WHERE serial = ANY(%s)"
        assert connection.execute(query, (serials,)).fetchone() == (len(held),)


def _serve(server: Server, gone: set[int]) -> bool:
    """Whether there are workers again, none of these among them."""
    status, body = server.http("/readyz")
    pids = {worker.get("pid") for worker in json.loads(body).get("workers", [])}
    return status == 200 and not pids & gone

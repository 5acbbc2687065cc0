"""Leadership by a real Lease: between processes that stop, end and come back."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from meshca.clock import SystemClock
from meshca.config.kubernetes import KubernetesConfig
from meshca.errors import NotFound
from meshca.kube.api import Tree
from meshca.kube.connection import connect
from meshca.kube.lease import Election, Record, Times
from meshca.kube.lease_lock import KubeLock
from tests.e2e.kube.cluster import TestCluster, kubeconfig, until
from tests.e2e.kube.leader_process import COUNTER, LEASE
from tests.fakes.logs import captured_logs

pytestmark = pytest.mark.real("kubernetes")
LEASES = "/apis/coordination.k8s.io/v1/namespaces/{}/leases"


@contextlib.contextmanager
def candidate(namespace: str, identity: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that stands for election."""
    command = [sys.executable, "-m", "tests.e2e.kube.leader_process", str(kubeconfig()), namespace, identity]
    process = subprocess.Popen(command)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def entries(cluster: TestCluster, namespace: str) -> dict[str, str]:
    """What leaders have written."""
    data = (await cluster.api.get(f"/api/v1/namespaces/{namespace}/configmaps/{COUNTER}")).get("data")
    return dict(data or {})


async def counter(cluster: TestCluster) -> str:
    """A namespace with a ConfigMap for leaders to write to."""
    namespace = await cluster.namespace()
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": COUNTER}}
    await cluster.api.create(f"/api/v1/namespaces/{namespace}/configmaps", body)
    return namespace


async def lease(cluster: TestCluster, namespace: str) -> Tree:
    """The lease as it is."""
    try:
        found = await cluster.api.get(f"{LEASES.format(namespace)}/{LEASE}")
    except NotFound:
        return {}
    return dict(found["spec"])


async def test_a_stopped_leader_does_nothing_when_it_wakes(cluster: TestCluster) -> None:
    """The other takes over; the first, awake again, writes nothing and follows."""
    namespace = await counter(cluster)

    async def writes(identity: str) -> int:
        return list((await entries(cluster, namespace)).values()).count(identity)

    async def leads(identity: str) -> bool:
        return (await lease(cluster, namespace)).get("holderIdentity") == identity and await writes(identity) > 0

    with candidate(namespace, "first") as first:
        await until(lambda: leads("first"))
        with candidate(namespace, "second"):
            await asyncio.sleep(1)  # it has looked at the lease by now
            before = await writes("first")

            async def wrote() -> bool:
                return await writes("first") > before

            await until(wrote)  # just now, so that it is stopped between two writes
            first.send_signal(signal.SIGSTOP)
            await until(lambda: leads("second"))
            stopped_at, seen = await writes("first"), await writes("second")
            first.send_signal(signal.SIGCONT)

            async def went_on() -> bool:
                return await writes("second") > seen + 10

            await until(went_on)  # two seconds in which the first had ten occasions
            assert await writes("first") == stopped_at
            assert (await lease(cluster, namespace))["leaseTransitions"] == 1


async def test_released_at_the_end(cluster: TestCluster) -> None:
    """A leader that ends gives the lease back, and the next need not wait for its end."""
    namespace = await counter(cluster)

    async def held_by() -> str | None:
        return (await lease(cluster, namespace)).get("holderIdentity")

    async def first_leads() -> bool:
        return await held_by() == "first"

    with candidate(namespace, "first") as first:
        await until(first_leads)
        first.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(first.wait, 10) == 0
        assert await held_by() == ""


class TestLock:
    """The library's lock over a real lease."""

    async def test_times_without_a_fraction(self, cluster: TestCluster) -> None:
        """A whole second is spelled as the API server wants it, ours and one that another wrote."""
        namespace = await cluster.namespace()
        lock = KubeLock(cluster.api, namespace, LEASE, "me")
        whole = datetime(2026, 1, 1, tzinfo=UTC)
        record = Record(holder="me", duration=15, acquired=whole, renewed=whole)
        await lock.create(record)
        assert await lock.read() == record
        await lock.update(record)
        assert (await lease(cluster, namespace))["renewTime"] == "2026-01-01T00:00:00.000000Z"

    async def test_what_others_keep_in_it_stays(self, cluster: TestCluster) -> None:
        """Labels, and fields that we do not know, are not ours to lose."""
        namespace = await cluster.namespace()
        lock = KubeLock(cluster.api, namespace, LEASE, "me")
        now = datetime.now(UTC)
        await lock.create(Record(holder="me", duration=15, acquired=now, renewed=now))
        path = f"{LEASES.format(namespace)}/{LEASE}"
        await cluster.api.merge(path, {"metadata": {"labels": {"a": "b"}}})
        await lock.update(await lock.read())
        assert (await cluster.api.get(path))["metadata"]["labels"] == {"a": "b"}

    @pytest.mark.parametrize("verb", ["get", "create", "update"])
    async def test_missing_permission(self, cluster: TestCluster, tmp_path: Path, verb: str) -> None:
        """Each one is named, once, and nobody leads."""
        namespace = await cluster.namespace()
        verbs = [one for one in ("get", "create", "update") if one != verb]
        rule = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": verbs}
        account = await cluster.account(tmp_path, namespace, verb, rules={namespace: [rule]})
        if verb == "update":
            await KubeLock(cluster.api, namespace, LEASE, "x").create(
                Record(holder="x", duration=1, acquired=None, renewed=None)
            )
        async with connect(KubernetesConfig(kubeconfig=account.kubeconfig)) as api:
            lock = KubeLock(api, namespace, LEASE, "me")
            election = Election(lock, "me", SystemClock(), Times(duration=2, deadline=1.0, retry=0.1))
            with captured_logs() as logs:
                running = asyncio.create_task(election.run())
                await until(lambda: election.error is not None)
                await asyncio.sleep(0.5)
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
        assert election.error is not None
        assert f"{verb} leases.coordination.k8s.io in {namespace}: forbidden; grant" in election.error.detail
        assert not election.leading()
        assert len([one for one in logs if one["event"] == "lease.failed"]) == 1

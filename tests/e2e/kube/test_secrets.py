"""The contract of a `SecretSource` over a real API server, and what only a real one shows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from meshca.authority.secret_source import StoredSecret
from meshca.config.kubernetes import KubernetesConfig
from meshca.errors import ConfigError, Unavailable
from meshca.kube.connection import connect
from tests.contract.secret_source import FIRST, SECOND, SecretSourceContract, new, quiet
from tests.e2e.kube.cluster import TestCluster, open_cluster
from tests.e2e.kube.outage import interruptible
from tests.e2e.kube.secret_place import SecretPlace, secret_place

pytestmark = pytest.mark.real("kubernetes")
NAMED = {"apiGroups": [""], "resources": ["secrets"], "resourceNames": [FIRST, SECOND]}
CREATE = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]}


@pytest.fixture
async def place(cluster: TestCluster) -> AsyncIterator[SecretPlace]:
    """A namespace of its own."""
    async with secret_place(cluster.api, await cluster.namespace()) as made:
        yield made


class TestReal(SecretSourceContract):
    """Over the API server."""


async def test_seen_within_a_second(place: SecretPlace) -> None:
    """From the write of an operator to the word of the watch: far less than a second."""
    source = place.source()
    await quiet(place, source)
    begun = time.monotonic()
    await place.put(FIRST, {"a": b"1"})
    await asyncio.wait_for(source.changed(), 1)
    print(f"a changed Secret was told after {(time.monotonic() - begun) * 1000:.0f} ms")  # noqa: T201 - a figure


async def test_smallest_role(cluster: TestCluster, place: SecretPlace, tmp_path: Path) -> None:
    """A Role that names the Secrets is enough to read and follow them; only `create` cannot name any."""
    rules = [{**NAMED, "verbs": ["get", "list", "watch", "update"]}, CREATE]
    account = await cluster.account(tmp_path, place.namespace, "ca", rules={place.namespace: rules})
    async with (
        connect(KubernetesConfig(kubeconfig=account.kubeconfig)) as api,
        secret_place(api, place.namespace) as ours,
    ):
        source = ours.source()
        await source.create(new())
        [found] = await source.read()
        await quiet(ours, source)
        await source.replace(new(value=b"2", version=found.version))
        await asyncio.wait_for(source.changed(), 5)


async def test_rejected(place: SecretPlace) -> None:
    """What the API server will never take is a ConfigError, and nothing of it is told."""
    bad = StoredSecret(name=SECOND, kind="Opaque", contents={"no key": b"PRIVATE"})
    with pytest.raises(ConfigError, match=r"Secret istio-ca-secret in namespace .*Invalid") as caught:
        await place.source().create(bad)
    assert "PRIVATE" not in str(caught.value)


async def test_no_namespace(cluster: TestCluster) -> None:
    """A namespace that does not exist is named."""
    async with secret_place(cluster.api, "t-nowhere") as place:
        source = place.source()
        assert await source.read() == []
        with pytest.raises(Unavailable, match="namespace t-nowhere does not exist"):
            await source.create(new())


async def test_after_a_lost_watch(tmp_path: Path) -> None:
    """A change that comes after the API server was killed and came back is told; one made meanwhile too."""
    with interruptible(tmp_path) as outage:
        async with (
            open_cluster(outage.plane.kubeconfig) as cluster,
            secret_place(cluster.api, await cluster.namespace()) as place,
        ):
            source = place.source()
            await quiet(place, source)
            outage.begin()
            with pytest.raises(Unavailable, match="the API server"):
                await source.read()
            await asyncio.to_thread(outage.end)
            await place.put(FIRST, {"a": b"1"})
            begun = time.monotonic()
            await asyncio.wait_for(source.changed(), 30)
            print(f"told {time.monotonic() - begun:.1f} s after the API server was back")  # noqa: T201 - a figure
            [found] = await source.read()
            assert found.contents == {"a": b"1"}

"""Our way to an API server, against a real one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from meshca.clock import SystemClock
from meshca.config.kubernetes import KubernetesConfig
from meshca.errors import ConfigError, NotFound
from meshca.kube.api import Api, Conflict, Forbidden, Rejected, Tree
from meshca.kube.connection import connect, own_namespace
from meshca.kube.informer import Informer
from tests.e2e.kube.cluster import TestCluster, kubeconfig, until

pytestmark = pytest.mark.real("kubernetes")
MAPS = "/api/v1/namespaces/{}/configmaps"


def config_map(name: str, **data: str) -> Tree:
    """A ConfigMap."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


class TestCalls:
    """Every answer that is no success has its own error."""

    async def test_create_read_replace_delete(self, cluster: TestCluster) -> None:
        """An object goes through its life."""
        maps = MAPS.format(await cluster.namespace())
        made = await cluster.api.create(maps, config_map("a", x="1"))
        await cluster.api.replace(f"{maps}/a", {**made, "data": {"x": "2"}})
        assert (await cluster.api.get(f"{maps}/a"))["data"] == {"x": "2"}
        await cluster.api.merge(f"{maps}/a", {"data": {"y": "3"}})
        assert (await cluster.api.get(f"{maps}/a"))["data"] == {"x": "2", "y": "3"}
        await cluster.api.delete(f"{maps}/a")
        with pytest.raises(NotFound):
            await cluster.api.get(f"{maps}/a")

    async def test_two_creators(self, cluster: TestCluster) -> None:
        """The second is told."""
        maps = MAPS.format(await cluster.namespace())
        await cluster.api.create(maps, config_map("a"))
        with pytest.raises(Conflict):
            await cluster.api.create(maps, config_map("a"))

    async def test_two_writers(self, cluster: TestCluster) -> None:
        """With a resourceVersion that is over nothing is written."""
        maps = MAPS.format(await cluster.namespace())
        made = await cluster.api.create(maps, config_map("a", x="1"))
        await cluster.api.replace(f"{maps}/a", {**made, "data": {"x": "2"}})
        with pytest.raises(Conflict):
            await cluster.api.replace(f"{maps}/a", {**made, "data": {"x": "3"}})

    async def test_two_managers_of_a_field(self, cluster: TestCluster) -> None:
        """Server-side apply refuses another manager's field, unless forced."""
        path = MAPS.format(await cluster.namespace()) + "/a"
        await cluster.api.apply(path, config_map("a", x="1"), manager="one")
        with pytest.raises(Conflict):
            await cluster.api.apply(path, config_map("a", x="2"), manager="two")
        forced = await cluster.api.apply(path, config_map("a", x="2"), manager="two", force=True)
        assert forced["data"] == {"x": "2"}

    async def test_invalid(self, cluster: TestCluster) -> None:
        """An object that is not valid is rejected; its content is not repeated."""
        maps = MAPS.format(await cluster.namespace())
        with pytest.raises(Rejected) as caught:
            await cluster.api.create(maps, {**config_map("Secret Words"), "data": {"private words": "x"}})
        assert "Invalid" in caught.value.detail
        assert "ords" not in caught.value.detail

    async def test_forbidden(self, cluster: TestCluster, tmp_path: Path) -> None:
        """A missing permission is named by verb, resource and namespace."""
        namespace = await cluster.namespace()
        account = await cluster.account(tmp_path, namespace, "nobody")
        async with connect(KubernetesConfig(kubeconfig=account.kubeconfig)) as api:
            with pytest.raises(Forbidden) as caught:
                await api.create("/apis/authentication.k8s.io/v1/tokenreviews", {"spec": {"token": "x"}})
            assert "create tokenreviews.authentication.k8s.io: forbidden; grant" in caught.value.detail
            with pytest.raises(Forbidden) as caught:
                await api.get(MAPS.format(namespace) + "/a")
            assert f"get configmaps in {namespace}: forbidden" in caught.value.detail

    async def test_our_token_is_read_anew(self, cluster: TestCluster, tmp_path: Path) -> None:
        """A token that was replaced on disk is used by the next call; a bad one is said to be ours."""
        namespace = await cluster.namespace()
        account = await cluster.account(tmp_path, namespace, "someone")
        good = account.token_file.read_text()
        async with connect(KubernetesConfig(kubeconfig=account.kubeconfig)) as api:
            await api.get("/version")
            account.token_file.write_text("bad")
            with pytest.raises(Forbidden, match="our own credentials"):
                await api.get("/api/v1/namespaces")
            account.token_file.write_text(good)
            with pytest.raises(Forbidden, match="grant this verb"):
                await api.get("/api/v1/namespaces")

    def test_namespace_of_a_kubeconfig(self, tmp_path: Path) -> None:
        """Where nothing says it, the administrator is told which key to set."""
        with pytest.raises(ConfigError, match=r"kubernetes\.namespace"):
            own_namespace(KubernetesConfig(kubeconfig=kubeconfig()))
        assert own_namespace(KubernetesConfig(kubeconfig=kubeconfig(), namespace="here")) == "here"


class TestInformer:
    """A collection is followed."""

    async def test_follows(self, cluster: TestCluster) -> None:
        """What was there, what comes, what changes and what goes."""
        maps = MAPS.format(await cluster.namespace())
        await cluster.api.create(maps, config_map("a", x="1"))
        async with running(cluster.api, maps) as informer:
            await informer.synced()
            assert value(informer, "a") == "1"
            await cluster.api.create(maps, config_map("b", x="2"))
            await cluster.api.merge(f"{maps}/a", config_map("a", x="3"))
            await until(lambda: (value(informer, "a"), value(informer, "b")) == ("3", "2"))
            await cluster.api.delete(f"{maps}/a")
            await until(lambda: value(informer, "a") is None)
            assert value(informer, "b") == "2"


def value(informer: Informer[str], name: str) -> str | None:
    """What the informer holds of a ConfigMap of this name."""
    return next((text for key, text in informer.items.items() if key.endswith(f"/{name}")), None)


@contextlib.asynccontextmanager
async def running(api: Api, path: str) -> AsyncIterator[Informer[str]]:
    """An informer of ConfigMaps that runs."""
    informer = Informer(api, path, lambda item: (item.get("data") or {}).get("x"), SystemClock())
    task = asyncio.create_task(informer.run())
    try:
        yield informer
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

"""What knows the pods of a cluster owes its users; run over the watch and the fake (and e2e over a real watch)."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import timedelta

import pytest

from meshca.authn.cluster import Pod, Pods
from meshca.background import running
from meshca.identity.service_account import ServiceAccount
from meshca.kube.api import Tree
from meshca.kube.pods import WatchedPods, read_pod
from tests.fakes.clock import FakeClock
from tests.fakes.kube_api import FakeApi, pod_item
from tests.fakes.pods import FakePods

WEB = ServiceAccount(namespace="shop", name="web")
ITEMS = (
    pod_item("web-1", "u1", labels={"app": "web"}),
    pod_item("web-2", "u2", node="node-2"),
    pod_item("web-3", "u3"),
    pod_item("done", "u4", phase="Succeeded"),
    pod_item("lost", "u5", phase="Failed"),
    pod_item("new", "u6", node="", phase="Pending"),
    pod_item("api", "u7", account="api"),
    pod_item("web-1", "u8", namespace="bank"),
)
Open = Callable[[Sequence[Tree]], AbstractAsyncContextManager[Pods]]


@contextlib.asynccontextmanager
async def watched(items: Sequence[Tree]) -> AsyncIterator[Pods]:
    """A watch of an API server in memory."""
    api, clock = FakeApi(), FakeClock()
    for item in items:
        api.put(f"/api/v1/namespaces/{item['metadata']['namespace']}/pods", item)
    pods = WatchedPods(api, clock, timedelta(seconds=5))
    async with running("pods", pods.run, clock):
        yield pods


@contextlib.asynccontextmanager
async def fake(items: Sequence[Tree]) -> AsyncIterator[Pods]:
    """The list."""
    yield FakePods(*[pod for pod in map(read_pod, items) if pod is not None])


every = pytest.mark.parametrize("open_", [watched, fake], ids=["watch", "fake"])


@every
async def test_found_by_name_and_uid(open_: Open) -> None:
    """All that we keep of it."""
    async with open_(ITEMS) as pods:
        assert await pods.find("shop", "web-1", "u1") == Pod(
            account=WEB, name="web-1", uid="u1", node="node-1", finished=False, labels={"app": "web"}
        )


@every
@pytest.mark.parametrize(
    ("namespace", "name", "uid"),
    [("shop", "web-1", "u2"), ("shop", "nobody", "u1"), ("bank", "web-1", "u1"), ("none", "web-1", "u1")],
    ids=["another uid", "another name", "another namespace", "no namespace"],
)
async def test_not_found(open_: Open, namespace: str, name: str, uid: str) -> None:
    """Namespace, name and uid must all be those of one pod."""
    async with open_(ITEMS) as pods:
        assert await pods.find(namespace, name, uid) is None


@every
@pytest.mark.parametrize(("name", "uid"), [("done", "u4"), ("lost", "u5")])
async def test_finished(open_: Open, name: str, uid: str) -> None:
    """A finished pod is found, and says so."""
    async with open_(ITEMS) as pods:
        found = await pods.find("shop", name, uid)
        assert found is not None
        assert found.finished


@every
@pytest.mark.parametrize(
    ("node", "account", "uids"),
    [
        ("node-1", WEB, {"u1", "u3"}),
        ("node-2", WEB, {"u2"}),
        ("node-3", WEB, set()),
        ("node-1", ServiceAccount(namespace="bank", name="web"), {"u8"}),
        ("", WEB, set()),
    ],
    ids=["two", "one", "none", "another namespace", "no node"],
)
async def test_unfinished_on_a_node(open_: Open, node: str, account: ServiceAccount, uids: set[str]) -> None:
    """Only pods that are not finished, of that account, on that node."""
    async with open_(ITEMS) as pods:
        assert {pod.uid for pod in await pods.on_node(node, account)} == uids

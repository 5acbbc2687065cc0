"""Facts about the watch of pods, beyond tests/contract/test_pods.py."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshca.authn.cluster import Pod
from meshca.background import running
from meshca.errors import Unavailable
from meshca.identity.service_account import ServiceAccount
from meshca.kube.api import Gone
from meshca.kube.pods import WAITING, PodIndex, WatchedPods
from tests.fakes.clock import FakeClock
from tests.fakes.kube_api import FakeApi, pod_item
from tests.fakes.logs import captured_logs

SHOP = "/api/v1/namespaces/shop/pods"
WEB = ServiceAccount(namespace="shop", name="web")
DOWN = Unavailable("kube_unreachable", "the API server cannot be reached")
PATIENCE = timedelta(seconds=5)


class Rig:
    """A watch over an API server in memory."""

    def __init__(self, max_pods: int = 100) -> None:
        self.api = FakeApi()
        self.clock = FakeClock()
        self.pods = WatchedPods(self.api, self.clock, PATIENCE, max_pods=max_pods)

    @contextlib.asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """The watch runs, and has read what is there."""
        async with running("pods", self.pods.run, self.clock):
            await self.clock.advance(0)
            self.api.asked.clear()
            yield


@pytest.fixture
def rig() -> Rig:
    """A rig with one pod."""
    rig = Rig()
    rig.api.put(SHOP, pod_item("web-1", "u1"))
    return rig


class TestAsking:
    """When the API server is asked instead of the watch."""

    async def test_what_the_watch_knows(self, rig: Rig) -> None:
        """Nobody is asked for it."""
        async with rig.watching():
            await rig.pods.find("shop", "web-1", "u1")
            await rig.pods.on_node("node-1", WEB)
        assert rig.api.asked == []

    async def test_a_pod_that_the_watch_does_not_know_yet(self, rig: Rig) -> None:
        """It is found, once asked for."""
        async with rig.watching():
            rig.api.put(SHOP, pod_item("web-2", "u2", node="node-2"), tell=False)
            assert await rig.pods.find("shop", "web-2", "u2") is not None
            assert len(await rig.pods.on_node("node-2", WEB)) == 1
        assert rig.api.asked == [f"{SHOP}/web-2", SHOP]

    async def test_a_pod_made_again(self, rig: Rig) -> None:
        """One that the watch knows under another uid is asked for, and the new one is found."""
        async with rig.watching():
            rig.api.put(SHOP, pod_item("web-1", "u2"), tell=False)
            assert await rig.pods.find("shop", "web-1", "u2") is not None
        assert rig.api.asked == [f"{SHOP}/web-1"]

    async def test_while_the_watch_fails(self, rig: Rig) -> None:
        """What it knew is not believed: a pod that is gone meanwhile is not found."""
        async with rig.watching():
            rig.api.down = DOWN
            rig.api.break_watches(DOWN)
            await rig.clock.advance(0)
            rig.api.down = None
            rig.api.drop(f"{SHOP}/web-1", tell=False)
            assert await rig.pods.find("shop", "web-1", "u1") is None
            assert await rig.pods.on_node("node-1", WEB) == []

    async def test_while_the_api_server_is_down(self, rig: Rig) -> None:
        """Nothing is known, which is said."""
        async with rig.watching():
            rig.api.down = DOWN
            rig.api.break_watches(DOWN)
            await rig.clock.advance(0)
            for question in (rig.pods.find("shop", "web-1", "u1"), rig.pods.on_node("node-1", WEB)):
                with pytest.raises(Unavailable, match="kube_unreachable"):
                    await question
            assert rig.pods.problem == DOWN.detail

    async def test_a_watch_that_goes_on(self, rig: Rig) -> None:
        """After a failure the pods are followed again, and what went meanwhile is gone."""
        async with rig.watching():
            rig.api.drop(f"{SHOP}/web-1", tell=False)
            rig.api.break_watches(Gone("kube_gone", "too old"))
            await rig.clock.advance(60)
            assert await rig.pods.find("shop", "web-1", "u1") is None
            assert rig.pods.problem == ""

    async def test_equal_questions_are_asked_once(self, rig: Rig) -> None:
        """However many ask at the same time; one who leaves takes nobody's answer along."""
        async with rig.watching():
            rig.api.held = asyncio.Event()
            rig.api.put(SHOP, pod_item("web-2", "u2"), tell=False)
            first, *others = [asyncio.create_task(rig.pods.find("shop", "web-2", "u2")) for _ in range(5)]
            await rig.clock.advance(0)
            first.cancel()
            rig.api.held.set()
            assert None not in await asyncio.gather(*others)
        assert rig.api.asked == [f"{SHOP}/web-2"]

    async def test_a_failure_that_nobody_waits_for(self, rig: Rig) -> None:
        """It is dropped without a word."""
        async with rig.watching():
            rig.api.held = asyncio.Event()
            asking = asyncio.create_task(rig.pods.find("shop", "web-2", "u2"))
            await rig.clock.advance(0)
            asking.cancel()
            rig.api.down = DOWN
            rig.api.held.set()
            await rig.clock.advance(0)
            rig.api.down = None
            assert await rig.pods.find("shop", "web-2", "u2") is None

    async def test_too_many_questions(self, rig: Rig) -> None:
        """The next one is told to come again."""
        async with rig.watching():
            rig.api.held = asyncio.Event()
            asking = [asyncio.create_task(rig.pods.find("shop", f"p-{n}", "u")) for n in range(WAITING)]
            await rig.clock.advance(0)
            with pytest.raises(Unavailable) as caught:
                await rig.pods.find("shop", "one-more", "u")
            assert caught.value.reason == "kube_busy"
            rig.api.held.set()
            await asyncio.gather(*asking)

    async def test_questions_about_nodes(self, rig: Rig) -> None:
        """As many as may wait do not keep a pod from being found."""
        async with rig.watching():
            rig.api.put(SHOP, pod_item("web-2", "u2"), tell=False)
            rig.api.held = asyncio.Event()
            others = [ServiceAccount(namespace=f"n-{n}", name="web") for n in range(WAITING)]
            asking = [asyncio.create_task(rig.pods.on_node("node-1", other)) for other in others]
            await rig.clock.advance(0)
            with pytest.raises(Unavailable, match="kube_busy"):
                await rig.pods.on_node("node-2", WEB)
            finding = asyncio.create_task(rig.pods.find("shop", "web-2", "u2"))
            await rig.clock.advance(0)
            assert rig.api.asked[-1] == f"{SHOP}/web-2"
            rig.api.held.set()
            assert await finding is not None
            await asyncio.gather(*asking)


class TestFirstRead:
    """Questions wait for it, for a bounded time."""

    async def test_waits(self, rig: Rig) -> None:
        """A question before the first read is answered from it."""
        rig.api.held = asyncio.Event()
        async with running("pods", rig.pods.run, rig.clock):
            asking = asyncio.create_task(rig.pods.on_node("node-1", WEB))
            await rig.clock.advance(1)
            assert not asking.done()
            assert "not been read" in rig.pods.problem
            rig.api.held.set()
            assert len(await asking) == 1
        assert rig.api.asked == ["/api/v1/pods"]

    async def test_gives_up(self, rig: Rig) -> None:
        """After its patience the question is asked by itself."""
        rig.api.held = asyncio.Event()
        async with running("pods", rig.pods.run, rig.clock):
            asking = asyncio.create_task(rig.pods.find("shop", "web-1", "u1"))
            await rig.clock.advance(PATIENCE.total_seconds())
            assert rig.api.asked == ["/api/v1/pods", f"{SHOP}/web-1"]
            rig.api.held.set()
            assert await asking is not None

    async def test_does_not_wait_for_what_has_failed(self, rig: Rig) -> None:
        """When the first read fails, such as for a missing permission, nobody waits for the next."""
        async with running("pods", rig.pods.run, rig.clock):
            rig.api.held = asyncio.Event()
            waiting = asyncio.create_task(rig.pods.find("shop", "web-1", "u1"))
            await rig.clock.advance(0)
            rig.api.down = DOWN
            rig.api.held.set()
            with pytest.raises(Unavailable):
                await waiting
            rig.api.down = None
            assert await rig.pods.find("shop", "web-1", "u1") is not None
        assert rig.clock.monotonic() == 0


class TestBound:
    """The watch keeps a bounded number of pods."""

    async def test_beyond_it(self) -> None:
        """Further pods are asked for each time; known ones are still followed; it is logged once."""
        rig = Rig(max_pods=1)
        with captured_logs() as logs:
            async with rig.watching():
                for number in (1, 2, 3):
                    rig.api.put(SHOP, pod_item(f"web-{number}", f"u{number}"))
                rig.api.put(SHOP, pod_item("web-1", "u1", node="node-9"))
                await rig.clock.advance(0)
                assert await rig.pods.find("shop", "web-2", "u2") is not None
                (moved,) = await rig.pods.on_node("node-9", WEB)
                assert moved.name == "web-1"
        assert rig.api.asked == [f"{SHOP}/web-2"]
        assert [line["event"] for line in logs] == ["kube.too_many"]

    async def test_of_the_first_read(self) -> None:
        """A list that is longer is not kept whole."""
        rig = Rig(max_pods=2)
        for number in range(5):
            rig.api.put(SHOP, pod_item(f"web-{number}", f"u{number}"))
        with captured_logs():
            async with rig.watching():
                assert len(await rig.pods.on_node("node-1", WEB)) == 2
                assert await rig.pods.find("shop", "web-4", "u4") is not None
        assert rig.api.asked == [f"{SHOP}/web-4"]


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["shop/a", "shop/b", "bank/a"]),
        st.none()
        | st.builds(
            Pod,
            account=st.sampled_from([WEB, ServiceAccount(namespace="bank", name="web")]),
            name=st.just("a"),
            uid=st.sampled_from(["1", "2"]),
            node=st.sampled_from(["", "n1", "n2"]),
            finished=st.booleans(),
        ),
    )
)


@given(EVENTS)
def test_index_equals_a_rebuild(events: list[tuple[str, Pod | None]]) -> None:
    """Whatever happened in whatever order, the index is what a rebuild from the pods that are there would be."""
    told = PodIndex()
    now: dict[str, Pod] = {}
    for key, pod in events:
        told.put(key, pod)
        if pod is None:
            now.pop(key, None)
        else:
            now[key] = pod
    rebuilt = PodIndex()
    for key, pod in now.items():
        rebuilt.put(key, pod)
    unfinished = [pod for pod in now.values() if pod.node and not pod.finished]
    for node in ("n1", "n2", ""):
        for account in (WEB, ServiceAccount(namespace="bank", name="web")):
            expected = sorted(pod.uid for pod in unfinished if (pod.node, pod.account) == (node, account))
            assert sorted(pod.uid for pod in told.on_node(node, account)) == expected
            assert sorted(pod.uid for pod in rebuilt.on_node(node, account)) == expected
    assert len(told) == len(rebuilt) == len(unfinished)

"""A collection that is followed; tests/e2e/kube/test_api.py follows a real one."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshca.errors import MeshcaError, Unavailable
from meshca.kube.answer import TooLarge
from meshca.kube.api import Api, Gone, Tree
from meshca.kube.informer import BACKOFF, PAGE, Informer, key_of
from tests.fakes.clock import FakeClock
from tests.fakes.logs import captured_logs

PATH = "/api/v1/pods"
DOWN = Unavailable("kube_unreachable", "home: the API server cannot be reached")
TOO_LARGE = TooLarge("kube_answer", "home: an answer is larger than 1 bytes")


def item(name: str, version: int, value: str = "", namespace: str = "shop") -> dict[str, Any]:
    """An object with one value."""
    return {"metadata": {"namespace": namespace, "name": name, "resourceVersion": str(version)}, "x": value}


def event(kind: str, name: str, version: int, value: str = "") -> dict[str, Any]:
    """One event of a watch."""
    return {"type": kind, "object": item(name, version, value)}


class FakeApi:
    """Gives pages and watches as scripted; a watch whose script is over waits for ever."""

    name = "home"

    def __init__(self) -> None:
        self.pages: list[Mapping[str, Any] | MeshcaError] = []
        self.watches: list[Sequence[Mapping[str, Any] | MeshcaError]] = []
        self.asked: list[dict[str, str]] = []

    async def get(self, _path: str, query: Mapping[str, str] | None = None) -> Tree:
        """The next page."""
        self.asked.append(dict(query or {}))
        page = self.pages.pop(0)
        if isinstance(page, MeshcaError):
            raise page
        return page

    async def watch(self, _path: str, query: Mapping[str, str], *, seconds: float) -> AsyncIterator[Tree]:
        """The next watch."""
        assert seconds > 0
        self.asked.append(dict(query))
        if not self.watches:
            await asyncio.Event().wait()
        for each in self.watches.pop(0):
            if isinstance(each, MeshcaError):
                raise each
            yield each


def page(*items: dict[str, Any], version: int, more: str = "") -> dict[str, Any]:
    """A page of a list."""
    return {"items": list(items), "metadata": {"resourceVersion": str(version), "continue": more}}


class Rig:
    """An informer over a script."""

    def __init__(self) -> None:
        self.api = FakeApi()
        self.clock = FakeClock()
        self.told: list[tuple[str, str | None]] = []
        self.informer: Informer[str] = Informer(
            cast("Api", self.api),  # a fake of the two methods that it uses
            PATH,
            lambda found: found["x"] or None,
            self.clock,
            selectors={"labelSelector": "a=b"},
            changed=lambda key, value: self.told.append((key, value)),
            rng=random.Random(1),
        )
        self.task: asyncio.Task[None] | None = None

    async def run(self, seconds: float = 0.0) -> dict[str, str]:
        """Let it run until it waits; what it holds."""
        if self.task is None:
            self.task = asyncio.create_task(self.informer.run())
        await self.clock.advance(seconds)
        return dict(self.informer.items)


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    """A rig, ended afterwards."""
    made = Rig()
    yield made
    if made.task is not None:
        made.task.cancel()
        await asyncio.gather(made.task, return_exceptions=True)


async def test_pages(rig: Rig) -> None:
    """A list that comes in pages is read to its end before anything counts as read."""
    rig.api.pages = [page(item("a", 1, "1"), version=5, more="next"), page(item("b", 2, "2"), version=5)]
    assert await rig.run() == {"shop/a": "1", "shop/b": "2"}
    await rig.informer.synced()
    assert rig.api.asked == [
        {"labelSelector": "a=b", "limit": str(PAGE)},
        {"labelSelector": "a=b", "limit": str(PAGE), "continue": "next"},
        {"labelSelector": "a=b", "resourceVersion": "5"},
    ]


async def test_an_empty_list_may_be_null(rig: Rig) -> None:
    """`items: null` is a list without items."""
    rig.api.pages = [{"items": None, "metadata": {"resourceVersion": "5"}}]
    assert await rig.run() == {}
    assert rig.informer.is_synced


async def test_events(rig: Rig) -> None:
    """What comes, changes and goes is told once each; what `read` leaves out counts as gone."""
    rig.api.pages = [page(item("a", 1, "1"), version=5)]
    rig.api.watches = [
        [
            event("ADDED", "b", 6, "2"),
            event("MODIFIED", "a", 7, "3"),
            event("MODIFIED", "a", 8, "3"),
            event("DELETED", "b", 9, "2"),
            event("MODIFIED", "a", 10, ""),
        ]
    ]
    assert await rig.run() == {}
    assert rig.told == [("shop/a", "1"), ("shop/b", "2"), ("shop/a", "3"), ("shop/b", None), ("shop/a", None)]


async def test_goes_on_where_it_was(rig: Rig) -> None:
    """A watch that ended goes on from the last version, a bookmark's included; nothing is read twice."""
    rig.api.pages = [page(version=5)]
    rig.api.watches = [[event("ADDED", "a", 6, "1"), {"type": "BOOKMARK", "object": item("", 8)}], []]
    await rig.run()
    assert [asked.get("resourceVersion") for asked in rig.api.asked] == [None, "5", "8", "8"]


async def test_too_old(rig: Rig) -> None:
    """When the version is too old the list is read again, and what is missing in it is told as gone."""
    rig.api.pages = [page(item("a", 1, "1"), item("b", 2, "2"), version=5), page(item("a", 1, "1"), version=9)]
    rig.api.watches = [[Gone("kube_gone", "too old")]]
    assert await rig.run() == {"shop/a": "1"}
    assert rig.told[2:] == [("shop/b", None)]


async def test_a_lost_server(rig: Rig) -> None:
    """What was read stays; the pause grows; recovery needs nobody; each is said once."""
    rig.api.pages = [page(item("a", 1, "1"), version=5)]
    rig.api.watches = [[DOWN], [DOWN], [event("ADDED", "b", 6, "2")]]
    with captured_logs() as logs:
        assert await rig.run() == {"shop/a": "1"}
        assert (rig.informer.failing, rig.informer.error) == (1, DOWN)
        await rig.run(BACKOFF.ceiling)
        assert await rig.run(BACKOFF.ceiling) == {"shop/a": "1", "shop/b": "2"}
    assert (rig.informer.failing, rig.informer.error) == (0, None)
    assert [line["event"] for line in logs] == ["kube.watch_failed", "kube.watch_recovered"]


async def test_a_server_that_is_gone_at_start(rig: Rig) -> None:
    """The first list is tried again until it succeeds."""
    rig.api.pages = [DOWN, page(item("a", 1, "1"), version=5)]
    assert await rig.run() == {}
    assert not rig.informer.is_synced
    assert await rig.run(BACKOFF.ceiling) == {"shop/a": "1"}


@pytest.mark.parametrize(
    "nonsense", [{}, {"type": "ADDED"}, {"type": "ADDED", "object": {}}, {"type": "ADDED", "object": None}, []]
)
async def test_nonsense(rig: Rig, nonsense: Any) -> None:
    """Whoever answers so is not believed, nor what it said before, until the collection is read anew."""
    rig.api.pages = [page(item("a", 1, "1"), version=5), page(item("b", 1, "2"), version=9)]
    rig.api.watches = [[nonsense]]
    with captured_logs() as logs:
        await rig.run()
        assert (rig.informer.failing, rig.informer.error and rig.informer.error.reason) == (1, "kube_answer")
        assert await rig.run(BACKOFF.ceiling) == {"shop/b": "2"}
    assert "nonsense" in logs[0]["detail"]


@pytest.mark.parametrize("bad", [[{"items": [{}], "metadata": {}}], [TOO_LARGE] * 5], ids=["nonsense", "large"])
async def test_a_list_that_cannot_be_read(rig: Rig, bad: list[Any]) -> None:
    """Of nonsense, or with an object that is too large even alone, it is tried again after a pause."""
    rig.api.pages = [*bad, page(item("a", 1, "1"), version=5)]
    with captured_logs():
        assert await rig.run() == {}
        await rig.informer.tried()
        assert await rig.run(BACKOFF.ceiling) == {"shop/a": "1"}


async def test_empty_pages_without_end(rig: Rig) -> None:
    """No API server gives them: a failure, with a pause before the next."""
    rig.api.pages = [page(version=5, more="on")] * 1000
    with captured_logs():
        await rig.run()
    assert (rig.informer.failing, rig.informer.error and rig.informer.error.reason) == (1, "kube_answer")
    assert len(rig.api.asked) == 1


async def test_pages_without_end(rig: Rig) -> None:
    """What `read` leaves out counts too: no more is read than one collection can hold."""
    rig.informer._most = 20
    rig.api.pages = [page(*[item(f"{number}", 1) for number in range(10)], version=5, more="on")] * 1000
    with captured_logs() as logs:
        assert await rig.run() == {}
    assert len(rig.api.asked) == 3  # two pages and the watch
    assert [line["event"] for line in logs] == ["kube.too_many"]


async def test_pages_that_are_too_large(rig: Rig) -> None:
    """Smaller ones are asked for at once, from then on, down to single objects."""
    rig.api.pages = [page(item("a", 1, "1"), version=5, more="on"), *[TOO_LARGE] * 4, page(version=5)]
    assert await rig.run() == {"shop/a": "1"}
    assert [asked["limit"] for asked in rig.api.asked[:-1]] == ["500", "500", "125", "31", "7", "1"]
    assert [asked.get("continue") for asked in rig.api.asked[:-1]] == [None, *["on"] * 5]


async def test_an_event_that_is_too_large(rig: Rig) -> None:
    """The list is read again, for the same event would come again."""
    rig.api.pages = [page(item("a", 1, "1"), version=5), page(item("a", 9, "2"), version=9)]
    rig.api.watches = [[TOO_LARGE]]
    with captured_logs():
        await rig.run()
        assert rig.informer.failing == 1
        assert await rig.run(BACKOFF.ceiling) == {"shop/a": "2"}


async def test_watches_that_end_at_once(rig: Rig) -> None:
    """One is nothing; several in a row are asked for with pauses, and a good one is followed again."""
    rig.api.pages = [page(version=5)]
    rig.api.watches = [[]] * 100 + [[event("ADDED", "a", 6, "1")]]
    await rig.run()
    assert len(rig.api.asked) <= 4
    assert await rig.run(100 * BACKOFF.ceiling) == {"shop/a": "1"}


async def test_versions_that_are_always_too_old(rig: Rig) -> None:
    """The list is not read again and again without a pause."""
    rig.api.pages = [page(version=5)] * 100
    rig.api.watches = [[Gone("kube_gone", "too old")]] * 100
    await rig.run()
    assert len(rig.api.asked) <= 6


@pytest.mark.parametrize(
    "watches",
    [[[TOO_LARGE]], [[{}]], [[], [Gone("kube_gone", "too old")]], [[Gone("kube_gone", "too old")]]],
    ids=["too large", "nonsense", "short, then too old", "too old"],
)
async def test_causes_to_read_the_whole_again_without_end(rig: Rig, watches: list[Any]) -> None:
    """A server that gives a good list and then always a cause to read it again is read ever more seldom."""
    rig.api.pages = [page(version=number) for number in range(1, 1000)]
    rig.api.watches = watches * 1000
    with captured_logs():
        for _ in range(600):
            await rig.run(1.0)
    assert sum("limit" in asked for asked in rig.api.asked) < 60


def test_key() -> None:
    """Objects without a namespace go by their name."""
    assert key_of(item("a", 1)) == "shop/a"
    assert key_of({"metadata": {"name": "node-1"}}) == "node-1"


NAMES = st.sampled_from("abc")
CHANGES = st.lists(st.tuples(st.sampled_from(["ADDED", "MODIFIED", "DELETED"]), NAMES, st.sampled_from("123")))


@given(CHANGES)
def test_any_events(changes: list[tuple[str, str, str]]) -> None:
    """Whatever comes, the listener has been told exactly what is held."""

    async def follow() -> None:
        rig = Rig()
        rig.api.pages = [page(version=1)]
        rig.api.watches = [[event(kind, name, 2 + i, value) for i, (kind, name, value) in enumerate(changes)]]
        held = await rig.run()
        assert rig.task is not None
        rig.task.cancel()
        await asyncio.gather(rig.task, return_exceptions=True)
        told: dict[str, str | None] = dict(rig.told)
        assert {key: value for key, value in told.items() if value is not None} == held
        expected = {f"shop/{name}": None if kind == "DELETED" else value for kind, name, value in changes}
        assert {key: value for key, value in expected.items() if value is not None} == held

    asyncio.run(follow())

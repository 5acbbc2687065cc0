"""What every adoption store does, SQLite, PostgreSQL and the fake alike."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from meshca.authority.adoption import MAX_AGENTS, Adoption, AdoptionStore, Grade, Kind
from meshca.identity.spiffe_id import SpiffeId
from tests.fakes.adoption_store import FakeAdoption
from tests.fakes.clock import FakeClock
from tests.fakes.records import NOW
from tests.store.opening import opened
from tests.store.postgres.opening import fresh_url, opened_shared, written

WEB = SpiffeId.parse("spiffe://cluster.local/ns/shop/sa/web")
PAYMENTS = SpiffeId.parse("spiffe://cluster.local/ns/shop/sa/payments")


def adoption(**changes: Any) -> Adoption:
    """What the agent `web-1` says of the roots."""
    usual = Adoption(
        agent=WEB,
        node_id="web-1",
        pod="web-1",
        kind=Kind.ROOTS,
        sent_version="v2",
        adopted_version="v1",
        grade=Grade.ENVOY,
        pending_pids=(17, 4711),
        error="",
        seen_at=NOW,
        worker="worker-0",
        stream="1",
    )
    return replace(usual, **changes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A store, and how to wait until it has written."""

    store: AdoptionStore
    settle: Callable[[], Awaitable[None]]


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.real("postgresql")), "fake"])
async def subject(
    request: pytest.FixtureRequest, tmp_path: Path, find_part: Callable[[str], object]
) -> AsyncIterator[Subject]:
    """An empty store of each kind."""
    clock = FakeClock(NOW)
    if request.param == "fake":
        yield Subject(store=FakeAdoption(), settle=lambda: clock.advance(0))
        return
    if request.param == "postgresql":
        with fresh_url(find_part("postgresql")) as url:
            async with opened_shared(url, clock) as shared:
                yield Subject(store=shared.adoption, settle=lambda: written(shared, clock))
        return
    async with opened(tmp_path, clock) as store:

        async def settle() -> None:
            await clock.advance(1)
            await store.probe()  # a later write: the earlier ones are there

        yield Subject(store=store.adoption, settle=settle)


async def test_what_was_recorded_is_listed(subject: Subject) -> None:
    """Every field comes back as it was given."""
    one = adoption(grade=Grade.REFUSED, error="no SAN\nwas found", leaf="5f", pod_uid="u", instance="7c")
    subject.store.record(one)
    await subject.settle()
    assert await subject.store.list() == [one]


async def test_agents_nodes_and_kinds_are_told_apart(subject: Subject) -> None:
    """One record each, ordered by agent, node id and kind."""
    every = [
        adoption(agent=PAYMENTS),
        adoption(kind=Kind.POLICIES),
        adoption(),
        adoption(node_id="web-2"),
    ]
    for one in reversed(every):
        subject.store.record(one)
    await subject.settle()
    assert await subject.store.list() == every


async def test_the_latest_word_counts(subject: Subject) -> None:
    """It replaces the earlier one as a whole."""
    subject.store.record(adoption(error="bad", grade=Grade.REFUSED))
    await subject.settle()
    later = adoption(adopted_version="v2", seen_at=NOW + timedelta(seconds=1))
    subject.store.record(later)
    await subject.settle()
    assert await subject.store.list() == [later]


async def test_a_word_that_arrives_late_does_not_count(subject: Subject) -> None:
    """What waited for the store may be written after what came later."""
    newer = adoption(seen_at=NOW + timedelta(seconds=1))
    subject.store.record(newer)
    await subject.settle()
    subject.store.record(adoption())
    await subject.settle()
    assert await subject.store.list() == [newer]


async def test_an_ended_stream_is_not_connected(subject: Subject) -> None:
    """What it said last stays known."""
    subject.store.record(adoption())
    subject.store.record(adoption(kind=Kind.POLICIES))
    subject.store.record(adoption(agent=PAYMENTS, stream="2"))
    await subject.settle()
    subject.store.disconnected("worker-0", "1")
    await subject.settle()
    assert [one.connected for one in await subject.store.list()] == [True, False, False]


async def test_a_stream_that_ends_at_once_is_not_connected(subject: Subject) -> None:
    """Also when nothing was written in between."""
    subject.store.record(adoption())
    subject.store.disconnected("worker-0", "1")
    await subject.settle()
    assert await subject.store.list() == [adoption(connected=False)]


async def test_an_agent_that_came_back_stays_connected(subject: Subject) -> None:
    """The end of its old stream is heard after the start of its new one."""
    subject.store.record(adoption())
    back = adoption(stream="2", seen_at=NOW + timedelta(seconds=1))
    subject.store.record(back)
    subject.store.disconnected("worker-0", "1")
    await subject.settle()
    assert await subject.store.list() == [back]


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"stream": "2"}, id="same-pod"),
        pytest.param({"worker": "worker-1"}, id="other-worker"),
        pytest.param({"pod": "web-2", "stream": "2"}, id="other-pod"),
        pytest.param({"pod_uid": "of another cluster", "stream": "2"}, id="other-cluster"),
    ],
)
async def test_two_streams_of_one_name_are_two_rows(subject: Subject, other: dict[str, str]) -> None:
    """What one of them refuses is not undone by what the other has in force."""
    refuses = adoption(grade=Grade.REFUSED, error="no")
    takes = adoption(adopted_version="v2", seen_at=NOW + timedelta(seconds=1), **other)
    for one in (refuses, takes):
        subject.store.record(one)
        await subject.settle()
    assert await subject.store.list() == [refuses, takes]


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"pod": "web-2"}, id="pod"),
        pytest.param({"pod_uid": "of another cluster"}, id="uid"),
        pytest.param({"instance": "b"}, id="agent-of-the-pod"),
        pytest.param({"node_id": "web-2"}, id="name"),
    ],
)
async def test_who_is_gone_is_not_replaced_by_another(subject: Subject, other: dict[str, str]) -> None:
    """It may still hold what it said last; the other one takes its own place only, however often it comes back."""
    subject.store.record(adoption(leaf="5f", instance="a"))
    subject.store.record(adoption(stream="2", seen_at=NOW + timedelta(seconds=1), **{"instance": "a", **other}))
    await subject.settle()
    subject.store.disconnected("worker-0", "1")
    subject.store.disconnected("worker-0", "2")
    await subject.settle()
    back = adoption(stream="3", seen_at=NOW + timedelta(seconds=2), **{"instance": "a", **other})
    subject.store.record(back)
    await subject.settle()
    assert await subject.store.list() == [adoption(leaf="5f", instance="a", connected=False), back]


async def test_who_comes_back_again_and_again_is_there_once(subject: Subject) -> None:
    """Its streams that have ended do not pile up, whether their ends are heard before its next word or after."""
    for number in range(6):
        seen_at = NOW + timedelta(seconds=number)
        subject.store.record(adoption(stream=f"{number}", seen_at=seen_at))
        if number % 2:
            await subject.settle()
        subject.store.disconnected("worker-0", f"{number}")
        await subject.settle()
    assert [one.stream for one in await subject.store.list()] == ["5"]


async def test_a_stream_that_seems_open_counts_until_its_end_is_heard(subject: Subject) -> None:
    """Nobody knows yet whether it is the one that its agent left."""
    left, next_one = adoption(stream="1"), adoption(stream="2", seen_at=NOW + timedelta(seconds=1))
    subject.store.record(left)
    subject.store.record(next_one)
    await subject.settle()
    assert await subject.store.list() == [left, next_one]
    subject.store.disconnected("worker-0", "1")
    await subject.settle()
    assert await subject.store.list() == [next_one]


async def test_streams_of_other_workers_stay_connected(subject: Subject) -> None:
    """Stream names are unique within a worker only."""
    subject.store.record(adoption(worker="worker-1"))
    subject.store.disconnected("worker-0", "1")
    await subject.settle()
    assert [one.connected for one in await subject.store.list()] == [True]


async def test_a_crowd_of_one_pod_is_bounded(subject: Subject) -> None:
    """However many names it takes: others keep their place, and so do those of its own that are connected."""
    others = [
        adoption(agent=PAYMENTS),
        adoption(kind=Kind.POLICIES),
        *(
            adoption(node_id="a", pod=pod, pod_uid=uid, stream=pod + uid)
            for pod, uid in [("web-1", "u"), ("web-2", "")]
        ),
    ]
    for one in (*others, adoption(node_id="kept")):
        subject.store.record(one)
    for number in range(MAX_AGENTS + 50):
        seen_at = NOW + timedelta(seconds=number)
        subject.store.record(adoption(node_id=f"n{number:05}", seen_at=seen_at, connected=False))
    await subject.settle()
    found = await subject.store.list()
    crowd = [one.node_id for one in found if one not in others]
    assert crowd == ["kept", *(f"n{number:05}" for number in range(51, MAX_AGENTS + 50))]
    assert all(one in found for one in others)


async def test_of_a_crowd_that_is_connected_the_last_heard_stay(subject: Subject) -> None:
    """Nobody is kept for having come first."""
    for number in range(MAX_AGENTS + 3):
        subject.store.record(adoption(node_id=f"n{number:05}", seen_at=NOW + timedelta(seconds=number)))
    await subject.settle()
    assert [one.node_id for one in await subject.store.list()] == [
        f"n{number:05}" for number in range(3, MAX_AGENTS + 3)
    ]

"""What every store of lifecycles does, SQLite, PostgreSQL and the fake alike."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshca.authority import planning
from meshca.authority.drafting import Cause
from meshca.authority.history import EMPTY, Change, Lifecycle, LifecycleStore, Plan
from meshca.authority.lifecycle import Act
from meshca.authority.requests import add_request, end_request
from meshca.clock import SystemClock
from meshca.errors import Conflict, InvariantBroken, Unavailable
from meshca.rotation.keeping import keep, keep_anew
from meshca.store.connection import connect
from tests.fakes.any_lifecycles import changes as any_changes
from tests.fakes.any_lifecycles import lifecycles
from tests.fakes.generations import change, changes_of, generation, newest_first
from tests.fakes.hurried_clock import HurriedClock
from tests.fakes.lifecycle_store import FakeLifecycles
from tests.fakes.pki import NOW
from tests.fakes.root_reports import request
from tests.fakes.roots import HOUR, NEW, OLD, rotating
from tests.store.opening import opened
from tests.store.postgres.opening import fresh_url, opened_shared

KINDS = ["sqlite", pytest.param("postgresql", marks=pytest.mark.real("postgresql")), "fake"]
Find = Callable[[str], object]
ANNA = Cause(by="anna", at=NOW)
PLAN = Plan(old=OLD, new=NEW, automatic=True, window=HOUR, started_at=NOW, by="anna")
UNDER_WAY = replace(rotating(), plan=PLAN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A store.

    Attributes:
        store: as this replica has it.
        other: the same one, as another replica has it.
        lose: put it out of reach of both.
        find: bring it back.
    """

    store: LifecycleStore
    other: LifecycleStore
    lose: Callable[[], None]
    find: Callable[[], None]


def _rename(path: Path, before: str, after: str) -> None:
    """Hide the tables from the store, or show them again."""
    with contextlib.closing(connect(path)) as connection:
        for table in ("lifecycle", "lifecycle_change"):
            connection.execute(f"ALTER TABLE {before}{table} RENAME TO {after}{table}")


def rename_shared(url: str, before: str, after: str) -> None:
    """The same in PostgreSQL."""
    with psycopg.connect(url, autocommit=True) as connection:
        for table in ("lifecycle", "lifecycle_change"):
            connection.execute(f"ALTER TABLE {before}{table} RENAME TO {after}{table}".encode())


@contextlib.asynccontextmanager
async def making(kind: str, folder: Path, find: Find) -> AsyncIterator[Subject]:
    """An empty store of one kind; `find` gives the real part that it is in."""
    if kind == "fake":
        fake = FakeLifecycles()
        yield Subject(
            store=fake,
            other=fake,
            lose=lambda: setattr(fake, "down", True),
            find=lambda: setattr(fake, "down", False),
        )
        return
    if kind == "postgresql":
        with fresh_url(find("postgresql")) as url:
            async with opened_shared(url, HurriedClock()) as store, opened_shared(url, HurriedClock()) as other:
                yield Subject(
                    store=store.lifecycle,
                    other=other.lifecycle,
                    lose=lambda: rename_shared(url, "", "lost_"),
                    find=lambda: rename_shared(url, "lost_", ""),
                )
        return
    path = folder / "meshca.db"
    async with opened(folder, HurriedClock()) as store, opened(folder, HurriedClock()) as other:
        yield Subject(
            store=store.lifecycle,
            other=other.lifecycle,
            lose=lambda: _rename(path, "", "lost_"),
            find=lambda: _rename(path, "lost_", ""),
        )


@pytest.fixture(params=KINDS)
async def subject(request: pytest.FixtureRequest, tmp_path: Path, find_part: Find) -> AsyncIterator[Subject]:
    """An empty store of each kind."""
    async with making(request.param, tmp_path, find_part) as made:
        yield made


async def commit(store: LifecycleStore, *numbers: int) -> None:
    """Commit generations with their changes."""
    for number in numbers:
        await store.commit(generation(number), changes_of(number))


async def everything(store: LifecycleStore) -> tuple[Lifecycle, list[Change]]:
    """All that is kept."""
    return await store.load(), list(await store.changes(1000))


async def test_nothing_is_kept_at_first(subject: Subject) -> None:
    """Neither a lifecycle nor a change."""
    assert await everything(subject.store) == (EMPTY, [])


async def test_what_was_committed_is_loaded(subject: Subject) -> None:
    """By every replica, every field as it was given."""
    await commit(subject.store, 1)
    assert await everything(subject.store) == (generation(1), newest_first(1))
    assert await everything(subject.other) == (generation(1), newest_first(1))


async def test_a_generation_takes_the_place_of_the_one_before(subject: Subject) -> None:
    """Whichever replica made that; the changes of both are kept."""
    await commit(subject.store, 1)
    await commit(subject.other, 2)
    await commit(subject.store, 3)
    assert await everything(subject.store) == (generation(3), newest_first(3))


async def test_a_generation_may_come_without_changes(subject: Subject) -> None:
    """A plan that is paused moves no authority."""
    await subject.store.commit(generation(1), [])
    assert await everything(subject.store) == (generation(1), [])


async def test_the_newest_changes_come_first(subject: Subject) -> None:
    """As many as are asked for, those of one commit in the opposite order too."""
    await commit(subject.store, 1, 2, 3)
    every = newest_first(3)
    assert [list(await subject.store.changes(limit)) for limit in range(8)] == [
        every[:limit] for limit in range(8)
    ]


async def test_less_than_nothing_is_nothing(subject: Subject) -> None:
    """A limit below zero asks for no change."""
    await commit(subject.store, 1)
    assert list(await subject.store.changes(-1)) == []


@pytest.mark.parametrize("number", [0, 1, 2, 4, 5])
async def test_only_the_next_generation_is_taken(subject: Subject, number: int) -> None:
    """Any other is refused, and neither it nor its changes are kept."""
    await commit(subject.store, 1, 2)
    with pytest.raises(Conflict) as caught:
        await commit(subject.store, number)
    assert caught.value.reason == "generation"
    assert await everything(subject.store) == (generation(2), newest_first(2))


async def test_a_first_generation_is_the_first(subject: Subject) -> None:
    """An empty store takes no other."""
    with pytest.raises(Conflict):
        await commit(subject.store, 2)
    assert await everything(subject.store) == (EMPTY, [])


async def test_of_two_at_once_one_wins(subject: Subject) -> None:
    """The other is told, and leaves nothing behind."""
    await commit(subject.store, 1)
    wishes = [(replace(generation(2), plan=None), [change(2, by)]) for by in ("first", "second")]
    answers = await asyncio.gather(
        *(store.commit(*wish) for store, wish in zip((subject.store, subject.other), wishes, strict=True)),
        return_exceptions=True,
    )
    assert sorted(type(answer).__name__ for answer in answers) == ["Conflict", "NoneType"]
    winner = next(wish for wish, answer in zip(wishes, answers, strict=True) if answer is None)
    assert await everything(subject.store) == (winner[0], [*winner[1], *newest_first(1)])


async def test_a_change_of_another_generation_is_refused(subject: Subject) -> None:
    """It would be told of a commit that it was not part of; nothing is kept."""
    with pytest.raises(InvariantBroken) as caught:
        await subject.store.commit(generation(1), [change(1), change(2)])
    assert caught.value.reason == "lifecycle"
    assert await everything(subject.store) == (EMPTY, [])


ACTS: dict[str, Callable[[LifecycleStore], Awaitable[object]]] = {
    "load": lambda store: store.load(),
    "commit": lambda store: commit(store, 2),
    "changes": lambda store: store.changes(1),
}


@pytest.mark.parametrize("act", ACTS)
async def test_a_store_out_of_reach_says_so(subject: Subject, act: str) -> None:
    """And is as it was before, once it is back."""
    await commit(subject.store, 1)
    subject.lose()
    with pytest.raises(Unavailable) as caught:
        await ACTS[act](subject.store)
    assert caught.value.reason == "store"
    subject.find()
    assert await everything(subject.store) == (generation(1), newest_first(1))
    await commit(subject.store, 2)


@pytest.mark.parametrize("number", [1, 3, 4])
async def test_another_generation_is_noticed_at_once(subject: Subject, number: int) -> None:
    """Also an older one: a store may be replaced by a copy of it."""
    await commit(subject.store, 1, 2)
    await subject.store.changed(number)


async def settle() -> None:
    """Let whoever waits look a few times."""
    for _ in range(20):
        await asyncio.sleep(0.001)


async def test_a_commit_of_another_replica_is_noticed(subject: Subject) -> None:
    """Not before it was made."""
    await commit(subject.store, 1)
    noticing = asyncio.create_task(subject.store.changed(1))
    await settle()
    assert not noticing.done()
    await commit(subject.other, 2)
    await noticing


async def test_who_waits_bears_a_store_out_of_reach(subject: Subject) -> None:
    """And notices what happened meanwhile, when it is back."""
    await commit(subject.store, 1)
    noticing = asyncio.create_task(subject.store.changed(1))
    await settle()
    subject.lose()
    await settle()
    assert not noticing.done()
    subject.find()
    await commit(subject.other, 2)
    await noticing


async def overtaken(store: LifecycleStore, kept: Lifecycle) -> None:
    """Once another generation is stored."""
    while await store.load() == kept:
        await store.changed(kept.generation)


async def test_requests_of_another_replica_hold_nobody_up(subject: Subject) -> None:
    """Whoever asks and takes back without end there: each act here is kept, and no more than that."""
    kept, clock = replace(UNDER_WAY, generation=1), SystemClock()
    await subject.store.commit(kept, [])

    async def meddle() -> None:
        while True:
            await asyncio.sleep(0)
            await keep_anew(subject.other, clock, lambda life: add_request(life, request()))
            await keep_anew(subject.other, clock, lambda life: end_request(life, request().id, Act.WITHDRAW, ANNA))

    meddling = asyncio.create_task(meddle())
    try:
        for act in (planning.pause, planning.resume) * 5:
            await overtaken(subject.store, kept)
            kept = await keep(subject.store, clock, kept, act(kept, ANNA))
    finally:
        meddling.cancel()
        await asyncio.gather(meddling, return_exceptions=True)
    acts = [one.act for one in await subject.store.changes(10_000) if one.act in {Act.PAUSE, Act.RESUME}]
    assert acts == [Act.RESUME, Act.PAUSE] * 5
    assert (await subject.store.load()).plan == UNDER_WAY.plan


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25)
@given(made=st.lists(st.tuples(lifecycles, st.lists(any_changes, max_size=3)), min_size=1, max_size=5))
async def test_whatever_is_committed_is_loaded(
    kind: str, find_part: Find, made: list[tuple[Lifecycle, list[Change]]]
) -> None:
    """A law: for any lifecycles and changes, one after the other."""
    told: list[Change] = []
    with tempfile.TemporaryDirectory() as folder:
        async with making(kind, Path(folder), find_part) as subject:
            for number, (drawn, changes) in enumerate(made, 1):
                lifecycle = replace(drawn, generation=number)
                told += (mine := [replace(one, generation=number) for one in changes])
                await subject.store.commit(lifecycle, mine)
                assert await everything(subject.store) == (lifecycle, told[::-1])

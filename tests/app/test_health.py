"""Facts about looking at the workers when nobody asks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, MutableMapping
from typing import Any

import pytest

from meshca import metrics
from meshca.app.control import Probed
from meshca.app.health import INTERVAL, MISSES, Health
from meshca.app.supervisor import BACKOFF
from tests.fakes.house import House
from tests.fakes.logs import captured_logs

SILENT = Probed(id=0, ok=False, detail="no answer within 2 s", answered=False)
STORE_DOWN = Probed(id=0, ok=False, detail="store: the disk is full")
WELL = Probed(id=0, ok=True)
Logs = list[MutableMapping[str, Any]]


@pytest.fixture
def logs() -> Iterator[Logs]:
    """What is logged."""
    with captured_logs() as entries:
        yield entries


@pytest.fixture
async def house(logs: Logs) -> AsyncIterator[House]:
    """A house of two workers that is looked after."""
    made = House()
    await made.supervisor.start()
    task = asyncio.create_task(Health(made.supervisor, made.clock).run())
    yield made
    task.cancel()
    await made.supervisor.kill()


def told(logs: Logs) -> list[tuple[str, str]]:
    """What was said of the server's readiness."""
    return [(line["event"], line.get("detail", "")) for line in logs if line["event"].startswith("server.")]


async def test_silent_worker_is_ended_and_followed_by_another(house: House) -> None:
    """A worker that leaves three probes in a row unanswered is ended, and its place filled again."""
    house.workers[0].answer = SILENT
    await house.clock.advance((MISSES - 1) * INTERVAL)
    assert not house.workers[0].ended.is_set()
    await house.clock.advance(INTERVAL)
    assert house.workers[0].failure == "did not answer 3 probes in a row"
    await house.clock.advance(BACKOFF.floor)
    assert house.names == ["w0", "w1", "w0"]


async def test_late_answer_forgives(house: House) -> None:
    """A worker that answers in between is slow, not hung."""
    for answer in (SILENT, SILENT, WELL) * 3:
        house.workers[0].answer = answer
        await house.clock.advance(INTERVAL)
    assert not house.workers[0].ended.is_set()


async def test_answering_worker_is_never_ended(house: House) -> None:
    """A worker that says what does not work is not ended: another would not work either."""
    house.workers[0].answer = STORE_DOWN
    await house.clock.advance(10 * MISSES * INTERVAL)
    assert not house.workers[0].ended.is_set()


async def test_readiness_is_logged_when_it_changes(house: House, logs: Logs) -> None:
    """That the server is not ready, and why, is logged once, and once that it is again."""
    house.workers[0].answer = STORE_DOWN
    await house.clock.advance(5 * INTERVAL)
    assert told(logs) == [("server.not_ready", "w0: store: the disk is full")]
    house.workers[0].answer = WELL
    await house.clock.advance(5 * INTERVAL)
    assert told(logs)[1:] == [("server.ready_again", "")]


async def test_metric_stays_true(house: House) -> None:
    """The gauge of ready workers follows without anybody asking for readiness."""
    house.workers[0].answer = STORE_DOWN
    await house.clock.advance(INTERVAL)
    assert metrics.workers_ready._value.get() == 1

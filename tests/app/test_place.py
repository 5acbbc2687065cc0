"""How a worker's place is, in words that an operator can use."""

from __future__ import annotations

import pytest

from meshca.app.control import Probed
from meshca.app.place import Place
from tests.fakes.house import FakeWorker


@pytest.fixture
def worker() -> FakeWorker:
    """One that serves."""
    return FakeWorker("w0", 7)


async def test_serving(worker: FakeWorker) -> None:
    """It is asked to prove that it works."""
    worker.answer = Probed(id=0, ok=False, detail="store: full", serving="PEM", answered=False)
    state = await Place(worker).state()
    assert (state.ready, state.detail, state.serving, state.silent) == (False, "store: full", "PEM", True)


async def test_starting(worker: FakeWorker) -> None:
    """It is not asked before it serves."""
    worker.ready.clear()
    state = await Place(worker).state()
    assert (state.ready, state.detail) == (False, "starting")


@pytest.mark.parametrize(
    ("failure", "trouble", "detail"),
    [
        pytest.param("", "", "killed by SIGKILL", id="silent"),
        pytest.param("the store is full", "", "the store is full", id="its own words"),
        pytest.param("", "cannot be restarted: no memory", "cannot be restarted: no memory", id="trouble"),
    ],
)
async def test_ended(worker: FakeWorker, failure: str, trouble: str, detail: str) -> None:
    """Why no other could take the place, else why it ended, else how."""
    place = Place(worker)
    worker.end("killed by SIGKILL", failure)
    place.trouble = trouble
    state = await place.state()
    assert (state.ready, state.detail) == (False, detail)


async def test_filled_again(worker: FakeWorker) -> None:
    """Trouble is over when another works there."""
    place = Place(worker)
    place.trouble = "cannot be restarted: no memory"
    place.fill(FakeWorker("w1", 8))
    assert ((await place.state()).ready, place.trouble) == (True, "")

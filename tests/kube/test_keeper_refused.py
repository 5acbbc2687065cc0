"""A keeper whose writes are refused, or not answered: shown, told once, and tried again."""

from __future__ import annotations

import asyncio

import pytest

from meshca.errors import MeshcaError, Unavailable
from meshca.kube.api import Conflict, Forbidden, Rejected, Terminating
from meshca.kube.keeper import Keeper
from meshca.kube.lease import NotLeading
from tests.fakes.jitter import Jitter
from tests.fakes.logs import captured_logs
from tests.kube.keeper_rig import FORBIDDEN, Rig


@pytest.mark.parametrize(
    "error",
    [
        FORBIDDEN,
        Rejected("kube_rejected", "home: patch configmaps in a: rejected with 422 (too large)"),
        Conflict("kube_conflict", "home: patch configmaps in a: Conflict"),
        Terminating("kube_terminating", "home: patch configmaps in a: the namespace is being deleted"),
    ],
)
async def test_one_that_is_refused(rig: Rig, error: MeshcaError) -> None:
    """It is named and tried again ever later; the others are written at once."""
    rig.kube.refusing[rig.place.path("a")] = error
    rig.keeper.want("x")
    await rig.settle(600)
    assert rig.texts() == [None, "x", "x"]
    kept = rig.keeper.report()
    assert (kept.in_sync, kept.pending, kept.failing) == (2, 0, (("a", error.detail),))
    tries = sum(path == rig.place.path("a") for _, path in rig.kube.writes)
    assert tries <= 600 / 2 + 1
    del rig.kube.refusing[rig.place.path("a")]
    await rig.settle(121)
    assert rig.texts() == ["x", "x", "x"]
    assert rig.keeper.report().failing == ()


async def test_many_refusals_are_one_line(rig: Rig) -> None:
    """One cause, one line of the log."""
    for key in "abc":
        rig.kube.refusing[rig.place.path(key)] = FORBIDDEN
    with captured_logs() as logs:
        rig.keeper.want("x")
        await rig.settle(300)
    assert [one["event"] for one in logs if one["log_level"] == "error"] == ["kube.write_refused"]


async def test_silence(rig: Rig) -> None:
    """While the API server does not answer that is shown, and told once; then everything is written."""
    rig.kube.down = True
    with captured_logs() as logs:
        rig.keeper.want("x")
        await rig.settle(60)
        assert rig.keeper.report().error == "home: the API server cannot be reached"
        rig.kube.down = False
        await rig.settle(11)
    assert rig.texts() == ["x", "x", "x"]
    assert rig.keeper.report().error == ""
    assert [one["event"] for one in logs].count("kube.write_failed") == 1


async def test_silence_backs_off() -> None:
    """With the usual jitter the pauses grow to ten seconds."""
    rig = Rig()
    rig.keeper = Keeper(rig.kube.api, rig.place, rig.fence, "a/b", rig.clock, rng=Jitter(1.0))
    rig.keeper.keep("a")
    rig.kube.down = True
    task = asyncio.create_task(rig.keeper.run())
    with captured_logs():
        rig.keeper.want("x")
        await rig.settle(100)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert len(rig.kube.writes) < 20


def test_unavailable_is_what_silence_raises() -> None:
    """The order of the handlers depends on it."""
    assert issubclass(Forbidden, Unavailable)
    assert issubclass(NotLeading, Unavailable)
    assert issubclass(Terminating, Unavailable)

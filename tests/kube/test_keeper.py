"""One text in many objects, on a cluster in memory and a clock that tests move: written once, repaired at once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from meshca.kube.keeper import PER_SECOND
from tests.fakes.logs import captured_logs
from tests.kube.keeper_rig import FORBIDDEN, KEY, Rig


async def test_nothing_to_say(rig: Rig) -> None:
    """Before there is a text nothing is written."""
    await rig.settle()
    assert rig.kube.writes == []
    assert rig.keeper.report().pending == 3


async def test_everywhere(rig: Rig) -> None:
    """Each object holds the text, written once."""
    rig.keeper.want("x")
    await rig.settle()
    assert rig.texts() == ["x", "x", "x"]
    assert len(rig.kube.writes) == 3
    kept = rig.keeper.report()
    assert (kept.in_sync, kept.pending, kept.failing, kept.contested, kept.error) == (3, 0, (), (), "")


async def test_another_text(rig: Rig) -> None:
    """A new text replaces the old."""
    rig.keeper.want("x")
    await rig.settle()
    rig.keeper.want("y")
    rig.keeper.want("y")
    await rig.settle()
    assert rig.texts() == ["y", "y", "y"]
    assert len(rig.kube.writes) == 6


async def test_what_is_there_already(rig: Rig) -> None:
    """An object that is known to hold the text is not written."""
    held = rig.place.read(
        await rig.kube.api.apply(rig.place.path("a"), rig.place.body("a", "x"), manager="meshca")
    )
    rig.keeper.drop("a")
    rig.keeper.keep("a", held)
    rig.kube.writes.clear()
    rig.keeper.want("x")
    await rig.settle()
    assert sorted(path[19] for _, path in rig.kube.writes) == ["b", "c"]


async def test_dropped(rig: Rig) -> None:
    """What is left alone is not written."""
    rig.keeper.drop("b")
    rig.keeper.want("x")
    await rig.settle()
    rig.look("b")
    await rig.settle()
    assert rig.texts() == ["x", None, "x"]


async def test_edit_is_repaired(rig: Rig) -> None:
    """At once, and who did it is not told as a rival."""
    rig.keeper.want("x")
    await rig.settle()
    await rig.edit()
    assert rig.texts() == ["x", "x", "x"]
    assert rig.keeper.report().contested == ()


async def test_deletion_is_repaired(rig: Rig) -> None:
    """At once."""
    rig.keeper.want("x")
    await rig.settle()
    await rig.kube.api.delete(rig.place.path("a"))
    rig.look("a")
    await rig.settle(0.1)
    assert rig.texts() == ["x", "x", "x"]


async def test_old_news(rig: Rig) -> None:
    """What a watch tells of a time before our own write is no edit."""
    rig.keeper.want("x")
    await rig.settle()
    old = rig.place.read(rig.kube._shown(rig.place.path("a")))
    rig.keeper.want("y")
    await rig.settle()
    writes = len(rig.kube.writes)
    rig.keeper.saw("a", old)
    await rig.settle()
    assert len(rig.kube.writes) == writes


async def test_edit_that_is_told_before_our_answer(rig: Rig) -> None:
    """An edit right after our write is seen although the watch was faster than the answer."""
    apply = rig.kube.apply

    async def overtaken(path: str, body: Any, *, manager: str, force: bool = False) -> Any:
        answer = await apply(path, body, manager=manager, force=force)
        if path == rig.place.path("a") and len(rig.kube.writes) <= 3:
            rig.kube.edit(path, "them", KEY, "edited")
            rig.look("a")
        return answer

    rig.kube.apply = overtaken  # type: ignore[method-assign]
    rig.keeper.want("x")
    await rig.settle()
    assert rig.texts() == ["x", "x", "x"]


async def test_deletion_that_is_told_before_our_answer(rig: Rig) -> None:
    """So is a deletion."""
    apply = rig.kube.apply

    async def overtaken(path: str, body: Any, *, manager: str, force: bool = False) -> Any:
        answer = await apply(path, body, manager=manager, force=force)
        if path == rig.place.path("a") and len(rig.kube.writes) <= 3:
            await rig.kube.delete(path)
            rig.look("a")
        return answer

    rig.kube.apply = overtaken  # type: ignore[method-assign]
    rig.keeper.want("x")
    await rig.settle()
    assert rig.texts() == ["x", "x", "x"]


async def test_fence(rig: Rig) -> None:
    """Who does not lead writes nothing, whatever is due."""
    rig.leading = False
    rig.keeper.want("x")
    await rig.settle(100)
    assert rig.kube.writes == []
    rig.leading = True
    await rig.settle(11)
    assert rig.texts() == ["x", "x", "x"]


async def test_rate(rig: Rig) -> None:
    """No more writes begin in a second than are allowed; a repair goes before the queue."""
    for number in range(500):
        rig.kube.namespace(f"n{number}")
        rig.keeper.keep(f"n{number}")
    rig.keeper.want("x")
    await rig.settle()
    assert len(rig.kube.writes) <= PER_SECOND + 1
    await rig.edit("n0")
    assert rig.kube.text(rig.place.path("n0")) == "x"
    await rig.settle(5)
    assert rig.keeper.report().in_sync == 503


async def test_convergence_is_told(rig: Rig) -> None:
    """When every object that can hold the text does, the log says how long it took."""
    rig.kube.refusing[rig.place.path("a")] = FORBIDDEN
    with captured_logs() as logs:
        rig.keeper.want("x")
        await rig.settle(5)
    (told,) = [one for one in logs if one["event"] == "kube.converged"]
    assert (told["objects"], told["failing"]) == (2, 1)
    assert told["seconds"] == pytest.approx(2 / PER_SECOND, abs=0.02)


async def test_a_bug_is_not_hidden(rig: Rig) -> None:
    """What is no error of ours ends the work, for the caller to begin it again."""

    def broken(key: str, text: str) -> dict[str, Any]:
        raise ValueError("broken")

    rig.place.body = broken  # type: ignore[method-assign]
    rig.keeper.want("x")
    with pytest.raises(ExceptionGroup):
        await asyncio.wait_for(rig.keeper.run(), 5)

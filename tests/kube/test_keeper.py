"""One text in many objects, on a cluster in memory and a clock that tests move."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from meshca.errors import MeshcaError, Unavailable
from meshca.kube.api import Conflict, Forbidden, Rejected, Terminating
from meshca.kube.held import Held, read_held
from meshca.kube.keeper import DELETER, PER_SECOND, WEBHOOK, Keeper
from meshca.kube.lease import NotLeading
from meshca.kube.rivalry import AT_ONCE, FIRST_PAUSE
from tests.fakes.clock import FakeClock
from tests.fakes.jitter import Jitter
from tests.fakes.kube_objects import FakeKube
from tests.fakes.logs import captured_logs

KEY = "root-cert.pem"
FORBIDDEN = Forbidden("kube_forbidden", "home: patch configmaps in a: forbidden")


class Place:
    """ConfigMaps, by namespace."""

    kind = "config_map"

    def path(self, key: str) -> str:
        """Of one."""
        return f"/api/v1/namespaces/{key}/configmaps/roots"

    def body(self, key: str, text: str) -> dict[str, Any]:
        """What is applied."""
        metadata = {"name": "roots", "namespace": key, "annotations": {"meshca.io/written-by": "a/b"}}
        return {"metadata": metadata, "data": {KEY: text}}

    def read(self, item: Any) -> Held:
        """What one holds."""
        return read_held(item, ("data", KEY), {})


class Rig:
    """A keeper of the namespaces a, b and c, that leads."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.kube = FakeKube()
        self.leading = True
        self.place = Place()
        self.keeper = Keeper(self.kube.api, self.place, self.fence, "a/b", self.clock, rng=Jitter(0.0))
        for name in "abc":
            self.kube.namespace(name)
            self.keeper.keep(name)

    def fence(self) -> None:
        """Lets writes through while we lead."""
        if not self.leading:
            raise NotLeading("not_leading", "somebody else leads")

    async def settle(self, seconds: float = 1.0) -> None:
        """Let it work."""
        await self.clock.advance(seconds)

    def look(self, key: str) -> None:
        """What a watch would tell."""
        text = self.kube.text(self.place.path(key))
        self.keeper.saw(key, None if text is None else self.place.read(self.kube._shown(self.place.path(key))))

    async def edit(self, key: str = "a", manager: str = "them") -> None:
        """Somebody changes an object, and the watch tells of it."""
        self.kube.edit(self.place.path(key), manager, KEY, "edited")
        self.look(key)
        await self.settle(0.1)

    def texts(self) -> list[str | None]:
        """What a, b and c hold."""
        return [self.kube.text(self.place.path(key)) for key in "abc"]


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    """A keeper at work."""
    made = Rig()
    task = asyncio.create_task(made.keeper.run())
    with captured_logs():
        yield made
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


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


async def test_field_of_another_is_taken_and_told(rig: Rig) -> None:
    """Once for each other manager, however many objects it owns."""
    for key in "ab":
        await rig.kube.api.apply(rig.place.path(key), rig.place.body(key, "theirs"), manager="pilot-discovery")
    with captured_logs() as logs:
        rig.keeper.want("x")
        await rig.settle()
    assert rig.texts() == ["x", "x", "x"]
    told = [(one["event"], one["manager"]) for one in logs if "manager" in one]
    assert told == [("kube.field_taken_over", "pilot-discovery")]


async def test_a_fight(rig: Rig) -> None:
    """Who takes it back each time gets it after a few rounds, is named, and is tried again ever later."""
    rig.keeper.want("x")
    await rig.settle()
    with captured_logs() as logs:
        for _ in range(AT_ONCE):
            await rig.edit(manager="rival")
            assert rig.texts()[0] == "x"
        await rig.edit(manager="rival")
        assert rig.texts() == ["edited", "x", "x"]
        assert rig.keeper.report().contested == (("a", "rival"),)
        await rig.settle(FIRST_PAUSE)
        assert rig.texts()[0] == "x"
        await rig.edit(manager="rival")
        await rig.settle(FIRST_PAUSE)
        assert rig.texts()[0] == "edited"
        await rig.settle(FIRST_PAUSE)
        assert rig.texts()[0] == "x"
    assert [one["rival"] for one in logs if one["event"] == "kube.contested"] == ["rival"]


async def test_a_fight_does_not_touch_others(rig: Rig) -> None:
    """While one object is left to a rival the others are repaired at once."""
    rig.keeper.want("x")
    await rig.settle()
    for _ in range(AT_ONCE + 1):
        await rig.edit()
    await rig.edit("b")
    assert rig.texts() == ["edited", "x", "x"]


async def test_a_new_text_waits_for_the_rival_too(rig: Rig) -> None:
    """A fight is not begun anew by every change of ours."""
    rig.keeper.want("x")
    await rig.settle()
    for _ in range(AT_ONCE + 1):
        await rig.edit()
    rig.keeper.want("y")
    await rig.settle()
    assert rig.texts() == ["edited", "y", "y"]


async def test_deleted_again_and_again(rig: Rig) -> None:
    """A deleter has no name, and is a rival all the same."""
    rig.keeper.want("x")
    await rig.settle()
    for _ in range(AT_ONCE + 1):
        await rig.kube.api.delete(rig.place.path("a"))
        rig.look("a")
        await rig.settle(0.1)
    assert rig.texts() == [None, "x", "x"]
    assert rig.keeper.report().contested == (("a", DELETER),)


async def test_webhook_that_changes_it(rig: Rig) -> None:
    """What never comes out as it went in is not written for ever."""
    rig.kube.webhook = lambda tree: tree["data"].update({KEY: "changed"})
    rig.keeper.want("x")
    await rig.settle(5)
    assert len(rig.kube.writes) == 3 * (AT_ONCE + 1)
    assert dict(rig.keeper.report().contested) == dict.fromkeys("abc", WEBHOOK)


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


def test_unavailable_is_what_silence_raises() -> None:
    """The order of the handlers depends on it."""
    assert issubclass(Forbidden, Unavailable)
    assert issubclass(NotLeading, Unavailable)
    assert issubclass(Terminating, Unavailable)

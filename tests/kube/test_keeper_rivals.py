"""A keeper and others who write the same objects: told, taken back a few times, then left to them ever longer."""

from __future__ import annotations

from meshca.kube.keeper import DELETER, WEBHOOK
from meshca.kube.rivalry import AT_ONCE, FIRST_PAUSE
from tests.fakes.logs import captured_logs
from tests.kube.keeper_rig import KEY, Rig


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

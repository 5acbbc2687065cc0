"""One upstream after another: nobody's root vanishes with a line of the configuration."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from meshca.authority.material import certificate_id
from meshca.authority.upstream import Line
from meshca.errors import ConfigError, InvariantBroken, MeshcaError, Unavailable
from meshca.upstream.sound_root import root_of
from meshca.upstream.succession import Succession
from tests.fakes.clock import FakeClock
from tests.fakes.leaf_signer import FakeLeafSigner
from tests.fakes.logs import captured_logs
from tests.fakes.pki import DAY, NOW, good_material, make_ca
from tests.fakes.upstream import FakeUpstream

OLD = good_material(root=make_ca("old", begin=NOW - 2 * DAY))
NEW = good_material(root=make_ca("new"))
OLD_ID, NEW_ID = certificate_id(root_of(OLD)), certificate_id(root_of(NEW))


def ids(lines: Sequence[Line]) -> list[str]:
    """Of their roots."""
    return [certificate_id(line.root) for line in lines]


async def test_both_roots_are_there() -> None:
    """The old one is kept and not wanted, so it signs until the new one may; the eldest comes first."""
    lines = await Succession(FakeUpstream(NEW), [FakeUpstream(OLD)]).lines()
    assert ids(lines) == [OLD_ID, NEW_ID]
    assert [(line.signs, line.wanted, line.kept) for line in lines] == [(True, False, True), (True, True, False)]


async def test_each_is_asked_for_its_own() -> None:
    """Material below a root comes from whoever has it; new roots come from the one of today."""
    today, before = FakeUpstream(NEW), FakeUpstream(OLD)
    both = Succession(today, [before])
    await both.lines()
    assert (await both.obtain(OLD_ID)).material == OLD
    assert (await both.obtain(NEW_ID)).material == NEW
    made = await both.make_root()
    assert certificate_id(made.root) in today.materials


async def test_a_root_of_both_is_the_one_of_today() -> None:
    """One that was plugged in under the same root goes on without the one before."""
    today = FakeUpstream(NEW)
    both = Succession(today, [FakeUpstream(NEW)])
    lines = await both.lines()
    assert [(certificate_id(line.root), line.wanted) for line in lines] == [(NEW_ID, True)]
    assert (await both.obtain(NEW_ID)).material == NEW
    assert today.asked == 1


async def test_today_cannot_be_had() -> None:
    """What was before goes on alone, and the problem is shown."""
    today = FakeUpstream(NEW)
    today.error = Unavailable("vault_sealed", "the server is sealed")
    both = Succession(today, [FakeUpstream(OLD)])
    assert ids(await both.lines()) == [OLD_ID]
    assert both.problem is today.error
    today.error = None
    assert ids(await both.lines()) == [OLD_ID, NEW_ID]
    assert both.problem is None


async def test_a_problem_of_today_is_shown() -> None:
    """While what it keeps goes on."""
    today = FakeUpstream(NEW)
    today.problem = ConfigError("fake", ["bad"])
    both = Succession(today, [FakeUpstream(OLD)])
    await both.lines()
    assert both.problem is today.problem


async def test_reached_is_who_is_named_today() -> None:
    """What was before is nobody to be reached."""
    today = FakeUpstream(NEW)
    today.reached_at = NOW
    assert Succession(today, [FakeUpstream(OLD)]).reached_at == NOW


async def test_leaves_are_signed_by_who_is_named_today() -> None:
    """Below a root of before nobody signs in our place."""
    today = FakeUpstream(NEW)
    assert Succession(today, [FakeUpstream(OLD)]).leaves is None
    today.leaves = FakeLeafSigner(make_ca("root"), FakeClock())
    assert Succession(today, [FakeUpstream(OLD)]).leaves is today.leaves


@pytest.mark.parametrize("error", [ConfigError("fake", ["bad"]), Unavailable("gone", "gone")])
async def test_neither_can_be_had(error: MeshcaError) -> None:
    """Then today's reason counts."""
    today, before = FakeUpstream(NEW), FakeUpstream(OLD)
    today.error, before.error = error, ConfigError("before", ["damaged"])
    with pytest.raises(MeshcaError) as caught:
        await Succession(today, [before]).lines()
    assert caught.value is error


async def test_what_was_before_cannot_be_read() -> None:
    """It is told once, and today's goes on."""
    before = FakeUpstream(OLD)
    before.error = ConfigError("before", ["damaged"])
    both = Succession(FakeUpstream(NEW), [before])
    with captured_logs() as logs:
        for _ in range(2):
            assert ids(await both.lines()) == [NEW_ID]
    assert [line["event"] for line in logs] == ["upstream.before"]


async def test_it_ends() -> None:
    """Once the old root is retired it is named no more; whoever made it is not told to delete it."""
    today, before = FakeUpstream(NEW), FakeUpstream(OLD)
    both = Succession(today, [before])
    await both.lines()
    await both.forget([NEW_ID])
    assert ids(await both.lines()) == [NEW_ID]
    assert f"forget {OLD_ID}" not in before.history
    assert OLD_ID in before.materials


async def test_a_move_that_was_given_up() -> None:
    """Only a root of before is to be kept: today's is left, and nothing breaks."""
    today = FakeUpstream(NEW)
    both = Succession(today, [FakeUpstream(OLD)])
    await both.lines()
    await both.forget([OLD_ID])
    assert ids(await both.lines()) == [OLD_ID, NEW_ID]
    assert not [one for one in today.history if one.startswith("forget")]


async def test_never_the_last() -> None:
    """When nothing that signs is to be kept, of before or of today, nothing is forgotten."""
    both = Succession(FakeUpstream(NEW), [FakeUpstream(OLD)])
    await both.lines()
    with pytest.raises(InvariantBroken, match="forget"):
        await both.forget(["f" * 64])
    assert ids(await both.lines()) == [OLD_ID, NEW_ID]


async def test_what_is_still_needed_stays() -> None:
    """Another root may be forgotten meanwhile."""
    both = Succession(FakeUpstream(NEW), [FakeUpstream(OLD)])
    await both.lines()
    await both.forget([OLD_ID, NEW_ID])
    assert ids(await both.lines()) == [OLD_ID, NEW_ID]


async def test_changes_of_today_wake() -> None:
    """What was before does not change by itself."""
    today = FakeUpstream(NEW)
    both = Succession(today, [FakeUpstream(OLD)])
    today.change()
    await both.changed()

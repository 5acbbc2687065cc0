"""Which roots could follow the one that signs, and what is said when none can."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from meshca.authority.history import Kind, Lifecycle, Record
from meshca.authority.lifecycle import State
from meshca.authority.material import certificate_id
from meshca.authority.straggling import short
from meshca.errors import Refused
from meshca.rotation.candidates import candidates, on_its_way, telling_why
from meshca.upstream.sound_root import root_of
from tests.fakes.pki import NOW, ec_key, good_material, make_ca
from tests.fakes.upstream import FakeUpstream

KEY = ec_key()
OLD, NEW, SAME = (make_ca(name, key=key) for name, key in (("old", KEY), ("new", None), ("same", KEY)))
MATERIALS = [good_material(root=one) for one in (OLD, NEW, SAME)]
IDS = [certificate_id(root_of(one)) for one in MATERIALS]


def record(number: int, state: State) -> Record:
    """One of the roots."""
    return Record(id=IDS[number], kind=Kind.ROOT, state=state, pem=(OLD, NEW, SAME)[number].pem, since=NOW)


def life(*states: State) -> Lifecycle:
    """So many of the roots."""
    return Lifecycle(generation=1, records=tuple(record(number, state) for number, state in enumerate(states)))


@pytest.mark.parametrize(("again", "expected"), [(False, [IDS[1]]), (True, [IDS[0], IDS[2]])])
async def test_a_new_key_unless_the_old_is_asked_for(*, again: bool, expected: Sequence[str]) -> None:
    """A root with the key of a stolen one is no help."""
    found = await candidates(FakeUpstream(*MATERIALS), record(0, State.ACTIVE), again=again)
    assert list(found) == expected


async def test_only_what_signs_and_is_wanted() -> None:
    """A root that is only named, or named no more, begins nothing."""
    upstream = FakeUpstream(*MATERIALS)
    upstream.unwanted = {IDS[1]}
    upstream.named = [make_ca("named")]
    assert await candidates(upstream, record(0, State.ACTIVE)) == {}


def test_what_is_on_its_way() -> None:
    """Prepared or distributed, and able to sign."""
    kept = life(State.ACTIVE, State.DISTRIBUTING, State.PREPARED)
    assert [one.id for one in on_its_way(kept, IDS[:2])] == [IDS[1]]
    assert on_its_way(life(State.ACTIVE, State.RETIRED), IDS) == []


def test_a_refusal_names_what_was_given_up() -> None:
    """Whoever brought a root that somebody gave up would otherwise be told to bring it."""
    refusal = Refused("upstream", "put one there")
    with (
        pytest.raises(Refused, match="given up or retired") as told,
        telling_why(life(State.ACTIVE, State.RETIRED), IDS[:2]),
    ):
        raise refusal
    assert told.value.reason == "upstream"
    assert told.value.detail.startswith(f"root {short(IDS[1])} is there")
    assert told.value.detail.endswith("who did that. put one there")


def test_another_refusal_stays_as_it_is() -> None:
    """Where nothing was given up."""
    refusal = Refused("upstream", "put one there")
    with pytest.raises(Refused) as told, telling_why(life(State.ACTIVE), IDS[:1]):
        raise refusal
    assert told.value is refusal


def test_nothing_is_said_of_what_is_not_refused() -> None:
    """What was given up long ago is in nobody's way."""
    with telling_why(replace(life(State.ACTIVE, State.RETIRED), generation=2), IDS):
        pass

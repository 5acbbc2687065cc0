"""By what replicas sign."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from meshca.authority.drafting import Cause, Planned
from meshca.authority.history import Kind, Lifecycle
from meshca.authority.intermediates import LONG_GONE, note_intermediate, retire_ended
from meshca.authority.lifecycle import Act, State
from meshca.authority.material import certificate_id, to_pem
from meshca.errors import NotFound, Refused
from tests.fakes.pki import DAY, NOW, Ca, make_ca
from tests.fakes.roots import NEW, OLD, SECOND, root, rotating

ROOT = make_ca("root")
FIRST, SECOND_ONE = make_ca("first", ROOT, end=NOW + DAY), make_ca("second", ROOT, end=NOW + 2 * DAY)
CAUSE = Cause(by="meshca", at=NOW)
BARE = replace(rotating(), records=(root(OLD), root(NEW, State.DISTRIBUTING)))


def note(life: Lifecycle, ca: Ca, replica: str = "one", below: str = OLD) -> Planned:
    """A replica signs by this from now on."""
    return note_intermediate(life, below, ca.certificate, replica, CAUSE)


def states(life: Lifecycle) -> list[tuple[str, State]]:
    """Replicas and states of all intermediates."""
    return [(one.replica, one.state) for one in life.of(Kind.INTERMEDIATE)]


NOTED = note(BARE, FIRST)[0]


def test_one_that_is_new_is_active_at_once() -> None:
    """By all steps of the table, in one commit."""
    life, changes = note(BARE, FIRST)
    assert life.generation == BARE.generation + 1
    assert [(one.act, one.after) for one in changes] == [
        (None, State.PREPARED),
        (Act.DISTRIBUTE, State.DISTRIBUTING),
        (Act.ACTIVATE, State.ACTIVE),
    ]


def test_what_is_kept_of_it() -> None:
    """What the ledger calls the signer, below its root."""
    (one,) = NOTED.of(Kind.INTERMEDIATE)
    assert (one.id, one.parent, one.pem, one.replica) == (
        certificate_id(FIRST.certificate),
        OLD,
        to_pem(FIRST.certificate),
        "one",
    )


def test_the_one_before_retires() -> None:
    """Of the same replica; that of another signs on."""
    life = note(note(NOTED, make_ca("other", ROOT), "two")[0], SECOND_ONE)[0]
    assert states(life) == [("one", State.RETIRING), ("two", State.ACTIVE), ("one", State.ACTIVE)]


def test_one_that_is_known_changes_nothing() -> None:
    """Nor when another replica signs by the same."""
    assert note(NOTED, FIRST) == note(NOTED, FIRST, "two") == (NOTED, ())


def test_one_that_retires_can_sign_again() -> None:
    """When a rotation is aborted; the other one of the replica retires."""
    life, changes = note(note(NOTED, SECOND_ONE)[0], FIRST)
    assert states(life) == [("one", State.ACTIVE), ("one", State.RETIRING)]
    assert [one.act for one in changes] == [Act.SUPERSEDE, Act.RESTORE]


def test_whoever_signs_again_by_it_is_named() -> None:
    """So that one replica never has two."""
    life = note(note(NOTED, SECOND_ONE)[0], FIRST, "two")[0]
    assert states(life) == [("two", State.ACTIVE), ("one", State.ACTIVE)]


def test_a_root_that_signs_itself_needs_none() -> None:
    """What was before retires."""
    signer = root(certificate_id(ROOT.certificate), State.ACTIVE)
    life = replace(NOTED, records=(signer, *NOTED.records[1:]))
    assert states(note(life, ROOT, below=signer.id)[0]) == [("one", State.RETIRING)]


def test_below_an_unknown_root_nothing_signs() -> None:
    """It was never prepared."""
    with pytest.raises(NotFound) as caught:
        note(BARE, FIRST, below="unheard of")
    assert caught.value.reason == "authority"


@pytest.mark.parametrize("state", [State.PREPARED, State.RETIRED])
def test_below_a_root_that_is_not_trusted_nothing_signs(state: State) -> None:
    """Everybody would refuse it."""
    with pytest.raises(Refused) as caught:
        note(replace(BARE, records=(root(OLD, state),)), FIRST)
    assert caught.value.reason == "root_not_trusted"


def test_one_that_is_retired_does_not_sign_again() -> None:
    """Retired is final."""
    ended, _ = retire_ended(NOTED, replace(CAUSE, at=NOW + 9 * DAY))
    with pytest.raises(Refused) as caught:
        note(ended, FIRST)
    assert caught.value.reason == "transition"


@pytest.mark.parametrize(
    ("after", "expected"),
    [(DAY + LONG_GONE, State.ACTIVE), (DAY + LONG_GONE + SECOND, State.RETIRED)],
    ids=["a-clock-ahead", "long-gone"],
)
def test_one_that_has_ended_retires(after: timedelta, expected: State) -> None:
    """Also one that was active, when it ended so long ago that its replica is gone."""
    life, _ = retire_ended(NOTED, replace(CAUSE, at=NOW + after))
    assert states(life) == [("one", expected)]


def test_one_that_retires_is_retired_when_it_has_ended() -> None:
    """In one step; the newer one lives."""
    life, changes = retire_ended(note(NOTED, SECOND_ONE)[0], replace(CAUSE, at=NOW + DAY + SECOND))
    assert states(life) == [("one", State.RETIRED), ("one", State.ACTIVE)]
    assert [one.act for one in changes] == [Act.RETIRE]

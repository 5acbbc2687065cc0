"""What a wish to rotate comes to, for every standing of two roots; which of them is stolen is never guessed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from meshca.authority.drafting import Cause
from meshca.authority.history import EMPTY, Kind, Lifecycle, Plan, Record
from meshca.authority.lifecycle import State
from meshca.authority.material import certificate_id
from meshca.errors import InvariantBroken, NotFound, Refused
from meshca.rotation.aim import Aim, Wish, aimed, gone_on
from tests.fakes.pki import NOW, ec_key, make_ca
from tests.fakes.roots import MINUTE

KEY = ec_key()
OLD_CA, NEW_CA, TWIN_CA = make_ca("old", key=KEY), make_ca("new"), make_ca("twin", key=KEY)
OLD, NEW, TWIN = (certificate_id(one.certificate) for one in (OLD_CA, NEW_CA, TWIN_CA))
PEMS = {OLD: OLD_CA.pem, NEW: NEW_CA.pem, TWIN: TWIN_CA.pem}
PLAN = Plan(old=OLD, new=NEW, automatic=True, window=5 * MINUTE, started_at=NOW, by="anna")
ABORTED = replace(PLAN, old=NEW, new=OLD)
STOLEN = Wish(compromised=True)


def record(id_: str, state: State) -> Record:
    """A root."""
    return Record(id=id_, kind=Kind.ROOT, state=state, pem=PEMS[id_], since=NOW)


def life(old: State, new: State, plan: Plan | None = PLAN, *, second: str = NEW) -> Lifecycle:
    """Two roots and how it shall go on."""
    return Lifecycle(generation=7, records=(record(OLD, old), record(second, new)), plan=plan)


BEGUN = life(State.ACTIVE, State.DISTRIBUTING)
SIGNED = life(State.RETIRING, State.ACTIVE)
BACK = life(State.ACTIVE, State.DISTRIBUTING, ABORTED)
TAINTED = life(State.TAINTED, State.ACTIVE, replace(PLAN, compromised=True, tainted_at=NOW))


def refused(kept: Lifecycle, wish: Wish) -> str:
    """Why a wish is refused."""
    with pytest.raises((Refused, NotFound)) as caught:
        aimed(kept, wish)
    return caught.value.reason


def test_a_root_that_is_retired_is_nobodys() -> None:
    """Nothing below it is trusted, so there is nothing to taint."""
    with pytest.raises(Refused, match="is retired: nobody trusts it, so nothing is left to do") as caught:
        aimed(life(State.ACTIVE, State.RETIRED, None), Wish(compromised=True, root=NEW))
    assert caught.value.reason == "not_signing"


@pytest.mark.parametrize(
    ("kept", "wish", "old"),
    [
        pytest.param(BEGUN, STOLEN, OLD, id="the-one-that-signs"),
        pytest.param(BEGUN, Wish(compromised=True, root=OLD), OLD, id="the-one-that-signs-by-name"),
        pytest.param(SIGNED, Wish(compromised=True, root=OLD), OLD, id="the-earlier-of-two"),
        pytest.param(BACK, Wish(compromised=True, root=OLD), OLD, id="the-earlier-of-two-after-an-abort"),
        pytest.param(TAINTED, STOLEN, OLD, id="the-one-that-goes-already"),
        pytest.param(SIGNED, Wish(), OLD, id="planned"),
        pytest.param(BACK, Wish(), OLD, id="planned-after-an-abort"),
        pytest.param(
            replace(SIGNED, plan=replace(PLAN, compromised=True, paused=True)), STOLEN, OLD, id="known-before"
        ),
    ],
)
def test_which_root_goes(kept: Lifecycle, wish: Wish, old: str) -> None:
    """The other one signs in the end."""
    found = aimed(kept, wish)
    assert found.plan is not None
    assert (found.old, found.plan.old, found.plan.new, found.back) == (old, old, NEW, False)


@pytest.mark.parametrize("kept", [SIGNED, BACK], ids=["retiring", "aborted"])
def test_the_later_of_two_goes(kept: Lifecycle) -> None:
    """The one before it signs."""
    found = aimed(kept, Wish(compromised=True, window=MINUTE, root=NEW))
    plan = replace(PLAN, old=NEW, new=OLD, compromised=True, window=MINUTE)
    assert found == Aim(old=NEW, plan=plan, back=True)


@pytest.mark.parametrize("kept", [SIGNED, BACK], ids=["retiring", "aborted"])
def test_which_of_two_that_have_signed_must_be_said(kept: Lifecycle) -> None:
    """Both are named, and which one would sign."""
    with pytest.raises(Refused) as caught:
        aimed(kept, STOLEN)
    assert caught.value.reason == "which_root"
    assert f"--root {OLD[:12]}" in caught.value.detail
    assert f"--root {NEW[:12]}" in caught.value.detail


@pytest.mark.parametrize(
    ("kept", "wish", "reason"),
    [
        pytest.param(EMPTY, STOLEN, "no_root", id="none"),
        pytest.param(BEGUN, Wish(compromised=True, root="ff"), "root", id="unknown"),
        pytest.param(BEGUN, Wish(compromised=True, root=NEW), "not_signing", id="never-signed"),
        pytest.param(
            life(State.ACTIVE, State.DISTRIBUTING, None),
            Wish(compromised=True, root=NEW),
            "not_signing",
            id="without-a-rotation",
        ),
        pytest.param(TAINTED, Wish(compromised=True, root=NEW), "rotation_under_way", id="the-one-that-replaces"),
        pytest.param(
            replace(BEGUN, plan=replace(PLAN, compromised=True, paused=True)), Wish(), "compromised", id="paused"
        ),
    ],
)
def test_refusals(kept: Lifecycle, wish: Wish, reason: str) -> None:
    """Told to whoever asks, before anything is done or kept."""
    assert refused(kept, wish) == reason


@pytest.mark.parametrize(
    "kept",
    [
        life(State.RETIRING, State.ACTIVE, replace(PLAN, new=TWIN), second=TWIN),
        life(State.ACTIVE, State.DISTRIBUTING, replace(PLAN, old=TWIN, new=OLD), second=TWIN),
        life(State.ACTIVE, State.DISTRIBUTING, None, second=TWIN),
    ],
    ids=["signed", "aborted", "no-rotation"],
)
def test_roots_of_one_stolen_key_go_together(kept: Lifecycle) -> None:
    """A new one is made, whichever of them signs."""
    active = kept.active_root
    assert active is not None
    (other,) = {OLD, TWIN} - {active.id}
    assert aimed(kept, STOLEN) == Aim(old=active.id, twins=(other,))


def test_without_a_theft_no_root_goes_but_the_active_one() -> None:
    """Others with its key stay what they are."""
    assert aimed(life(State.ACTIVE, State.DISTRIBUTING, None, second=TWIN), Wish()) == Aim(old=OLD)


def test_a_root_that_is_not_known_any_more_is_no_twin() -> None:
    """The act tells that it is gone."""
    kept = replace(BEGUN, records=BEGUN.records[:1])
    found = aimed(kept, STOLEN)
    with pytest.raises(NotFound):
        gone_on(kept, found, Cause(by="anna", at=NOW), str)


def test_where_none_is_under_way_none_goes_on() -> None:
    """It is to be begun."""
    with pytest.raises(InvariantBroken):
        gone_on(BEGUN, Aim(old=OLD), Cause(by="anna", at=NOW), str)

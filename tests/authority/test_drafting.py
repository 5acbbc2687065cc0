"""A commit in the making."""

from __future__ import annotations

from dataclasses import replace

import pytest

from meshca.authority.drafting import MAX_RETIRED, Cause, Draft, Version, bundle_text
from meshca.authority.history import EMPTY, MAX_BUNDLES, Change, Kind, Lifecycle, Plan
from meshca.authority.lifecycle import Act, State
from meshca.errors import InvariantBroken, MeshcaError, NotFound, Refused
from tests.fakes.pki import DAY, NOW
from tests.fakes.roots import MINUTE, NEW, OLD, intermediate, root, rotating

CAUSE = Cause(by="uid 0", reason="audit", guard="all trust it", forced=True, at=NOW)
PREPARED = rotating(new=State.PREPARED)


def version(text: str) -> str:
    """What a text is called here: its roots' first letters."""
    return "".join(line[0] for line in text.splitlines())


def after(life: Lifecycle, *acts: tuple[str, Act], versions: Version | None = version) -> Lifecycle:
    """The lifecycle after some acts."""
    draft = Draft(life, CAUSE)
    for authority, act in acts:
        draft.act(authority, act)
    return draft.planned(versions)[0]


def test_a_transition_is_one_generation_with_one_change() -> None:
    """Which says everything that is known of it."""
    draft = Draft(PREPARED, CAUSE)
    draft.act(NEW, Act.DISTRIBUTE)
    life, changes = draft.planned(version)
    assert life.generation == 8
    assert changes == (
        Change(
            generation=8,
            authority=NEW,
            kind=Kind.ROOT,
            act=Act.DISTRIBUTE,
            before=State.PREPARED,
            after=State.DISTRIBUTING,
            guard="all trust it",
            forced=True,
            by="uid 0",
            reason="audit",
            at=NOW,
        ),
    )


def test_one_that_is_new_has_no_state_before() -> None:
    """And no act."""
    draft = Draft(EMPTY, CAUSE)
    draft.make(root(OLD, State.PREPARED))
    (change,) = draft.planned()[1]
    assert (change.act, change.before, change.after) == (None, None, State.PREPARED)


def test_nothing_done_is_no_generation() -> None:
    """The same lifecycle, without changes."""
    assert Draft(PREPARED, CAUSE).planned() == (PREPARED, ())


def test_a_bundle_follows_when_the_trusted_set_is_another() -> None:
    """With the next number, and the version of its text."""
    newest = after(PREPARED, (NEW, Act.DISTRIBUTE)).bundles[-1]
    assert (newest.sequence, newest.version, newest.roots, newest.at) == (3, "ab", (OLD, NEW), NOW)


def test_the_first_bundle_is_number_one() -> None:
    """There is none before it."""
    life = after(replace(PREPARED, bundles=()), (NEW, Act.DISTRIBUTE))
    assert [one.sequence for one in life.bundles] == [1]


def test_no_bundle_follows_when_the_same_roots_are_trusted() -> None:
    """Who signs is not what is trusted; nobody has to give a version."""
    life = after(rotating(), (OLD, Act.SUPERSEDE), (NEW, Act.ACTIVATE), versions=None)
    assert life.bundles == rotating().bundles


def test_a_bundle_that_was_given_out_before_is_given_out_anew() -> None:
    """Equal sets of roots share nothing but their version."""
    life = after(after(PREPARED, (NEW, Act.DISTRIBUTE)), (NEW, Act.ABORT))
    assert [(one.sequence, one.version) for one in life.bundles[2:]] == [(3, "ab"), (4, "a")]


def test_the_oldest_bundles_are_forgotten() -> None:
    """The newest stay, and numbers go on."""
    life = PREPARED
    for _ in range(MAX_BUNDLES):
        life = after(life, (NEW, Act.DISTRIBUTE))
        life = replace(life, records=PREPARED.records)
        life = after(life, (OLD, Act.SUPERSEDE), (OLD, Act.RETIRE))
        life = replace(life, records=PREPARED.records)
    assert (len(life.bundles), life.bundles[-1].sequence) == (MAX_BUNDLES, 2 + 2 * MAX_BUNDLES)


def test_a_changed_set_without_a_version_is_our_own_fault() -> None:
    """Nobody could tell who has adopted it."""
    with pytest.raises(InvariantBroken) as caught:
        after(PREPARED, (NEW, Act.DISTRIBUTE), versions=None)
    assert caught.value.reason == "bundle_version"


def test_a_root_is_trusted_since_its_first_bundle() -> None:
    """What happens to it later does not change that."""
    life = after(PREPARED, (NEW, Act.DISTRIBUTE))
    later = Draft(life, replace(CAUSE, at=NOW + DAY))
    later.act(NEW, Act.ACTIVATE)
    found = later.planned()[0].find(NEW)
    assert found is not None
    assert (found.since, found.trusted_since) == (NOW + DAY, NOW)


def test_an_intermediate_is_never_trusted_itself() -> None:
    """Only roots are in a bundle."""
    life = replace(PREPARED, records=(*PREPARED.records, intermediate("ic", OLD, State.PREPARED)))
    found = after(life, ("ic", Act.DISTRIBUTE)).find("ic")
    assert found is not None
    assert found.trusted_since is None


@pytest.mark.parametrize("kind", Kind)
def test_the_newest_retired_are_kept(kind: Kind) -> None:
    """Of each kind; who signs and who is trusted always is."""
    gone = [
        root(str(n), State.RETIRED, NOW - n * MINUTE)
        if kind is Kind.ROOT
        else intermediate(str(n), OLD, State.RETIRED, NOW - n * MINUTE)
        for n in range(MAX_RETIRED + 3)
    ]
    life = after(replace(PREPARED, records=(*PREPARED.records, *gone)), (NEW, Act.DISTRIBUTE))
    assert [one.id for one in life.of(kind, State.RETIRED)] == [str(n) for n in range(MAX_RETIRED)]
    assert len(life.records) == len(PREPARED.records) + MAX_RETIRED


def test_a_text_has_each_root_once_oldest_first() -> None:
    """In the order of the records."""
    assert bundle_text([root(NEW), root(OLD), root(NEW)]) == f"{NEW}\n{OLD}\n"


@pytest.mark.parametrize(
    ("authority", "act", "error", "reason"),
    [
        ("unheard of", Act.RETIRE, NotFound, "authority"),
        (OLD, Act.RETIRE, Refused, "transition"),
    ],
)
def test_what_cannot_be_done_is_refused(authority: str, act: Act, error: type[MeshcaError], reason: str) -> None:
    """By asking first or by doing."""
    for ask in (Draft(PREPARED, CAUSE).possible, Draft(PREPARED, CAUSE).act):
        with pytest.raises(error) as caught:
            ask(authority, act)
        assert caught.value.reason == reason


@pytest.mark.parametrize("state", [State.ACTIVE, State.RETIRING, State.TAINTED, State.RETIRED])
def test_an_intermediate_ends_from_every_state(state: State) -> None:
    """By the table."""
    draft = Draft(replace(PREPARED, records=(intermediate("ia", OLD, state),)), CAUSE)
    draft.end("ia")
    assert draft.record("ia").state is State.RETIRED


@pytest.mark.parametrize(
    ("before", "after_", "expected"),
    [(False, True, "uid 0"), (True, True, "uid 7"), (True, False, ""), (False, False, "uid 7")],
    ids=["made", "stays", "no-more", "never"],
)
def test_who_makes_a_rotation_urgent_is_kept(*, before: bool, after_: bool, expected: str) -> None:
    """Once, and until it is not urgent any more."""
    plan = Plan(old=OLD, new=NEW, automatic=True, window=MINUTE, started_at=NOW, by="anna")
    plan = replace(plan, compromised=before, urgent_by="uid 7")
    draft = Draft(replace(PREPARED, plan=plan), CAUSE)
    draft.plan(replace(plan, compromised=after_))
    found = draft.planned()[0].plan
    assert found is not None
    assert found.urgent_by == expected


def test_a_guard_is_said_once_of_a_root_and_what_goes_below_it() -> None:
    """It may name a hundred workloads."""
    draft = Draft(rotating(State.RETIRING, State.ACTIVE), CAUSE)
    draft.act(OLD, Act.RETIRE)
    draft.drop_below(OLD)
    assert [(one.authority, one.guard) for one in draft.planned(version)[1]][:2] == [
        (OLD, CAUSE.guard),
        ("ia", ""),
    ]

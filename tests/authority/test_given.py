"""Which roots came with what."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import pytest

from meshca.authority.given import FOLLOWED, Given
from meshca.authority.history import EMPTY
from meshca.authority.lifecycle import State
from tests.fakes.pki import DAY, NOW
from tests.fakes.roots import HOUR, NEW, OLD, SECOND, bundle, root, rotating

GIVEN = Given(rotating())


@pytest.mark.parametrize(
    ("version", "roots"),
    [("a", {OLD}), ("a+b", {OLD, NEW}), ("c", set()), ("", set())],
    ids=["a", "a+b", "c", "none"],
)
def test_a_version_names_its_roots(version: str, roots: set[str]) -> None:
    """One that is not remembered trusts nothing."""
    assert GIVEN.version(version) == roots


@pytest.mark.parametrize(
    ("moment", "roots"),
    [
        pytest.param(NOW - 3 * DAY, set(), id="before-the-first"),
        pytest.param(NOW - 2 * DAY, {OLD}, id="with-the-first"),
        pytest.param(NOW - 2 * DAY + FOLLOWED, {OLD}, id="after-the-first"),
        pytest.param(NOW - HOUR - SECOND, {OLD}, id="before-the-second"),
        pytest.param(NOW - HOUR, {OLD}, id="while-a-replica-may-not-have-heard"),
        pytest.param(NOW - HOUR + FOLLOWED, {OLD, NEW}, id="once-all-have-heard"),
    ],
)
def test_an_answer_came_with_the_bundle_of_its_time(moment: datetime, roots: set[str]) -> None:
    """In doubt only with what both have."""
    assert GIVEN.at(moment) == roots


def test_an_answer_older_than_what_is_remembered_trusts_nothing() -> None:
    """The bundles before are not known any more."""
    life = replace(rotating(), bundles=rotating().bundles[1:])
    assert Given(life).at(NOW - HOUR) == set()


def test_a_clock_that_was_set_back_does_not_turn_bundles_round() -> None:
    """The later bundle counts from the time of the one before."""
    life = replace(rotating(), bundles=(bundle(1, NOW, OLD), bundle(2, NOW - DAY, OLD, NEW)))
    assert Given(life).at(NOW - HOUR) == set()
    assert Given(life).at(NOW + FOLLOWED) == {OLD, NEW}


@pytest.mark.parametrize(
    ("signer", "below"),
    [("ia", {OLD}), ("ib", {NEW}), (OLD, {OLD}), ("unheard of", {OLD, NEW})],
    ids=["intermediate", "other", "root", "unknown"],
)
def test_a_signer_is_below_a_root(signer: str, below: set[str]) -> None:
    """One that is not known may be below any that is trusted."""
    assert GIVEN.below(signer) == below


def test_an_unknown_signer_is_not_below_what_nobody_trusts() -> None:
    """A prepared root has signed nothing, and below a retired one everything is refused already."""
    life = replace(EMPTY, records=(root(OLD), root(NEW, State.PREPARED), root("c", State.RETIRED)))
    assert Given(life).below("unheard of") == {OLD}

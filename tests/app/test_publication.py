"""Since when roots are published, from what keepers report."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from meshca.app.publication import Publication
from meshca.authority.material import certificate_id
from meshca.kube.kept import Kept
from tests.fakes.clock import FakeClock
from tests.fakes.pki import NOW, make_ca

OLD, NEW = make_ca("old"), make_ca("new")
OLD_ID, NEW_ID = certificate_id(OLD.certificate), certificate_id(NEW.certificate)
WELL = Kept(in_sync=2, pending=0)


class Rig:
    """A clock, and what was noted by it."""

    def __init__(self) -> None:
        self.clock = FakeClock(NOW)
        self.publication = Publication(self.clock)

    def note(self, *places: Kept | None, pem: str = OLD.pem + NEW.pem) -> None:
        """Now."""
        self.publication.note(pem, places)

    def since(self, root: str = NEW_ID) -> object:
        """As a gate asks."""
        return self.publication.published_since(root)


@pytest.fixture
def rig() -> Rig:
    """Nothing is noted."""
    return Rig()


def test_nothing_is_known_at_first(rig: Rig) -> None:
    """So nothing is published."""
    assert rig.since() is None


def test_everywhere(rig: Rig) -> None:
    """Since it was noted first, however often it is noted again."""
    rig.note(WELL, WELL)
    rig.clock.move(60)
    rig.note(WELL, WELL)
    assert (rig.since(OLD_ID), rig.since()) == (NOW, NOW)


@pytest.mark.parametrize(
    "place",
    [
        None,
        Kept(in_sync=0, pending=0),
        replace(WELL, pending=1),
        replace(WELL, failing=(("shop", "refused"),)),
        replace(WELL, contested=(("shop", "istiod"),)),
        replace(WELL, foreign=(("shop", "another root"),)),
        replace(WELL, error="no watch"),
    ],
    ids=["another-writes", "no-objects", "pending", "failing", "contested", "foreign", "cannot-see"],
)
def test_not_everywhere(rig: Rig, place: Kept | None) -> None:
    """One place that does not hold it, or that is in doubt, is enough."""
    rig.note(WELL, place)
    assert rig.since() is None


def test_no_roots_yet(rig: Rig) -> None:
    """Before the first are given out nothing is published."""
    rig.note(WELL, pem="")
    assert rig.since() is None


def test_a_moment_of_doubt(rig: Rig) -> None:
    """Closes the gate for that moment, and the time before counts after it: a namespace was new."""
    rig.note(WELL)
    rig.clock.move(60)
    rig.note(replace(WELL, pending=1))
    assert rig.since() is None
    rig.note(WELL)
    assert rig.since() == NOW


def test_who_no_longer_writes_knows_nothing(rig: Rig) -> None:
    """Another has written meanwhile: time counts anew."""
    rig.note(WELL)
    rig.clock.move(60)
    rig.note(None)
    rig.note(WELL)
    assert rig.since() == NOW + timedelta(seconds=60)


def test_each_root_by_itself(rig: Rig) -> None:
    """One that is published beside another does not begin that one's time anew."""
    rig.note(WELL, pem=OLD.pem)
    rig.clock.move(60)
    rig.note(replace(WELL, in_sync=1, pending=1))
    rig.note(WELL)
    assert (rig.since(OLD_ID), rig.since()) == (NOW, NOW + timedelta(seconds=60))


def test_withdrawn_and_published_again(rig: Rig) -> None:
    """Counts from the second time, also when it was withdrawn while something was in doubt."""
    rig.note(WELL)
    rig.note(replace(WELL, pending=2), pem=OLD.pem)
    rig.clock.move(60)
    rig.note(WELL)
    assert rig.since() == NOW + timedelta(seconds=60)


def test_a_clock_that_is_set(rig: Rig) -> None:
    """An hour ahead opens nothing sooner."""
    rig.note(WELL)
    rig.clock.move(60)
    rig.clock._now += timedelta(hours=1)
    assert rig.since() == rig.clock.now() - timedelta(seconds=60)


def test_nowhere_to_publish(rig: Rig) -> None:
    """Where the cluster has no such API nobody waits for a reader."""
    rig.note()
    assert rig.since() == NOW


class TestWrites:
    """`writes`: whether this replica publishes."""

    def test_unknown_before_anything_is_noted(self) -> None:
        """And where nothing is published."""
        publication = Publication(FakeClock(NOW))
        assert publication.writes is None
        publication.note("", ())
        assert publication.writes is None

    def test_only_where_every_place_is_written(self) -> None:
        """A place that another replica writes is None."""
        publication = Publication(FakeClock(NOW))
        publication.note("", (None,))
        assert publication.writes is False

"""Pairs with their keys: damage of any of them is told, and only keys that no certificate leads to go."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshca.authority.keys import key_id
from meshca.authority.material import certificate_id
from meshca.errors import ConfigError, Unavailable
from meshca.identity.key_type import KeyType
from meshca.svid.signature import SigningKey
from meshca.upstream.ca_folder import CaFolder
from meshca.upstream.ca_pairs import CaPairs
from tests.fakes.clock import FakeClock
from tests.fakes.keystore import MemoryKeyStore
from tests.fakes.pki import DAY, NOW, TRUST_DOMAIN, Ca, make_ca


class Place:
    """A folder with pairs, and a key store.

    Attributes:
        pairs: over both.
        clock: of the pairs.
        keys: the key store.
    """

    def __init__(self, data_dir: Path) -> None:
        self.keys = MemoryKeyStore()
        self.clock = FakeClock()
        self.folder = CaFolder(data_dir)
        self.pairs = CaPairs(self.folder, self.keys, TRUST_DOMAIN, self.clock)

    def key(self) -> SigningKey:
        """A new one in the store."""
        return self.keys.create(KeyType.EC_P256)

    def add(self, root: Ca, end_below: int = 30) -> str:
        """A pair whose keys are in the store, unless the root's is not."""
        below = make_ca("below", root, key=self.key(), end=NOW + end_below * DAY)
        self.folder.publish(self.folder.stage(), root.certificate, below.certificate)
        return certificate_id(root.certificate)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """With one pair."""
    made = Place(tmp_path)
    made.add(make_ca("first", key=made.key()))
    return made


def test_all_damage_at_once(place: Place) -> None:
    """Faults of every pair are told together: a missing key here, an intermediate of another root there."""
    place.add(make_ca("second"))  # its key is in no store
    third = make_ca("third", key=place.key())
    strange = make_ca("below", make_ca("strange"), key=place.key())
    place.folder.publish(place.folder.stage(), third.certificate, strange.certificate)
    with pytest.raises(ConfigError) as refused:
        place.pairs.load()
    assert [part in str(refused.value) for part in ("there is no key", "no chain of signatures")] == [True, True]


def test_tidy(place: Place) -> None:
    """Keys of all pairs stay; a key without a certificate goes."""
    place.add(make_ca("second", key=place.key()))
    left_over = place.key()
    place.pairs.tidy()
    certificates = [one for pair in place.pairs.held.values() for one in (pair.root, pair.intermediate)]
    assert place.keys.key_ids() == frozenset(key_id(one.public_key()) for one in certificates)
    assert key_id(left_over.public_key()) not in place.keys.key_ids()
    assert len(certificates) == 4


def test_tidy_over_damage(place: Place) -> None:
    """While a pair is damaged no key goes: it may be that of what a backup will bring back."""
    root = place.add(make_ca("second", key=place.key()))
    (place.folder.path / root[:16] / "root.pem").write_text("damaged")
    before = place.keys.key_ids()
    with pytest.raises(ConfigError):
        place.pairs.tidy()
    assert place.keys.key_ids() == before


def test_expired_intermediate(place: Place) -> None:
    """An intermediate that is over is no fault: another is made in its place."""
    root = place.add(make_ca("second", key=place.key()), end_below=1)
    place.clock.move((2 * DAY).total_seconds())
    assert place.pairs.find(root).id == root


def test_prove(place: Place) -> None:
    """A sound pair is proven; one whose subject another root has with another key is not."""
    place.pairs.load()
    for subject, problem in (("other", None), ("first", "its subject is in use")):
        root = make_ca(subject, key=place.key())
        below = make_ca("below", root, key=place.key(), end=NOW + DAY)
        if problem is None:
            place.pairs.prove(root.certificate, below.certificate)
        else:
            with pytest.raises(ConfigError, match=problem):
                place.pairs.prove(root.certificate, below.certificate)


def test_nothing_left_over(place: Place) -> None:
    """What fails leaves no key, and fails as it did, even when tidying fails too."""
    before = place.keys.key_ids()
    place.key()
    with pytest.raises(Unavailable, match="down"), place.pairs.nothing_left_over():
        raise Unavailable("test", "down")
    assert place.keys.key_ids() == before
    (place.folder.path / "root.pem").unlink()
    with pytest.raises(Unavailable, match="down"), place.pairs.nothing_left_over():
        raise Unavailable("test", "down")

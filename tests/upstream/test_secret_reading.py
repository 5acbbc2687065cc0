"""What Secrets hold, judged; and the one write at a time by which a root is forgotten."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from meshca.authority.material import certificate_id
from meshca.authority.secret_source import StoredSecret
from meshca.errors import Refused
from meshca.upstream import ca_secret
from meshca.upstream.secret_reading import Reading, next_name, next_write, read_secrets, to_be_followed
from tests.fakes.cacerts import Files, cacerts
from tests.fakes.pki import NOW, TRUST_DOMAIN, Ca, make_ca

NAMES = ("cacerts", "istio-ca-secret")
MAIN, SPARE = NAMES[1], "istio-ca-secret-next"
OLD, NEW, ROOT = make_ca("old"), make_ca("new"), make_ca("root")
PLUGGED = cacerts(make_ca("signer", ROOT), roots=(ROOT, OLD))
OLD_ID, NEW_ID, ROOT_ID = (certificate_id(ca.certificate) for ca in (OLD, NEW, ROOT))


def holding(name: str, ca: Ca) -> StoredSecret:
    """A Secret with a root, as we write it."""
    made = ca_secret.of_root(name, ca.certificate, ca.key)
    return StoredSecret(name=name, kind=made.kind, contents=made.contents, version="7")


def stored(name: str, files: Files) -> StoredSecret:
    """A Secret as an operator writes it."""
    contents = {key: text.encode() for key, text in files.items()}
    return StoredSecret(name=name, kind="Opaque", contents=contents, version="7")


def reading_of(*there: StoredSecret, company: Sequence[Ca] = ()) -> Reading:
    """What is found there."""
    return read_secrets(there, NAMES, [ca.certificate for ca in company], TRUST_DOMAIN, NOW)


BOTH = (holding(MAIN, OLD), holding(SPARE, NEW))


def test_next_name() -> None:
    """The Secret of the root that shall follow is called after the last of the names."""
    assert next_name(NAMES) == SPARE


def test_nothing() -> None:
    """Where there is nothing, or nothing in it, nothing is found and nothing is wrong."""
    reading = reading_of(stored(MAIN, {}), stored(SPARE, {}))
    assert (reading.counts, reading.held, reading.named, reading.problems) == (None, {}, (), {})


def test_both() -> None:
    """What counts and what follows are wanted; both keys are there."""
    reading = reading_of(*BOTH)
    assert list(reading.held) == [NEW_ID, OLD_ID]
    assert reading.named == (OLD.certificate, NEW.certificate)
    assert all(held.is_root and held.made for held in reading.held.values())


def test_one_that_does_not_count() -> None:
    """What a Secret holds that does not count is found and not wanted; a bad one is nobody's business."""
    reading = reading_of(stored("cacerts", PLUGGED), holding(MAIN, NEW))
    assert set(reading.held) == {ROOT_ID, NEW_ID}
    assert reading.named == (ROOT.certificate, OLD.certificate)
    bad = reading_of(stored("cacerts", PLUGGED), stored(MAIN, {"ca-cert.pem": "damaged"}))
    assert (set(bad.held), bad.problems) == ({ROOT_ID}, {})


def test_one_that_does_not_count_of_the_same_subject() -> None:
    """Nor is one whose subject is that of what counts, as Istio's roots all have one subject."""
    reading = reading_of(stored("cacerts", PLUGGED), holding(MAIN, make_ca("root")))
    assert (set(reading.held), reading.problems) == ({ROOT_ID}, {})


@pytest.mark.parametrize(
    ("there", "company", "name"),
    [
        pytest.param([holding(MAIN, OLD)], [make_ca("old")], MAIN, id="in-use"),
        pytest.param([holding(MAIN, OLD), holding(SPARE, make_ca("old"))], [], SPARE, id="of-what-counts"),
    ],
)
def test_subject_in_use(there: list[StoredSecret], company: list[Ca], name: str) -> None:
    """A subject that another root has with another key is a problem of the newer one."""
    reading = reading_of(*there, company=company)
    assert list(reading.problems) == [name]
    assert "its subject is in use" in reading.told[0]


def test_same_in_both() -> None:
    """A root that is in both Secrets is there once, and what counts wins."""
    reading = reading_of(holding(MAIN, NEW), holding(SPARE, NEW))
    assert [held.secret.name for held in reading.held.values()] == [MAIN]
    assert reading.named == (NEW.certificate,)


@pytest.mark.parametrize(
    ("there", "keep", "name", "root"),
    [
        pytest.param(BOTH, {OLD_ID, NEW_ID}, None, None, id="both-kept"),
        pytest.param(BOTH, {NEW_ID}, MAIN, NEW, id="the-new-one-moves"),
        pytest.param((holding(MAIN, NEW), BOTH[1]), {NEW_ID}, SPARE, None, id="then-the-second-is-emptied"),
        pytest.param((holding(MAIN, NEW), stored(SPARE, {})), {NEW_ID}, None, None, id="then-it-is-done"),
        pytest.param(BOTH, {OLD_ID}, SPARE, None, id="the-new-one-goes"),
        pytest.param((BOTH[1],), {NEW_ID}, None, None, id="nothing-to-replace"),
        pytest.param((BOTH[1],), {OLD_ID}, SPARE, None, id="nothing-counts"),
        pytest.param((stored("cacerts", PLUGGED), BOTH[1]), {NEW_ID}, None, None, id="plugged-in-stays"),
        pytest.param((stored("cacerts", PLUGGED), BOTH[0]), {ROOT_ID}, None, None, id="what-does-not-count-stays"),
        pytest.param((BOTH[0],), {NEW_ID}, None, None, id="nothing-follows"),
    ],
)
def test_next_write(there: Sequence[StoredSecret], keep: set[str], name: str | None, root: Ca | None) -> None:
    """Which Secret is written next, over the version that was read, and with which root or none."""
    write = next_write(reading_of(*there), keep)
    assert (write and write.name) == name
    if write is not None:
        assert write.version == "7"
        assert (write.contents.get("ca-cert.pem") or None) == (root.pem.encode() if root else None)


@pytest.mark.parametrize("main", [None, OLD, NEW, ROOT], ids=["none", "old", "new", "plugged-in"])
@pytest.mark.parametrize("spare", [None, OLD, NEW], ids=["none", "old", "new"])
@pytest.mark.parametrize(
    "keep", [{OLD_ID}, {NEW_ID}, {OLD_ID, NEW_ID}, set()], ids=["old", "new", "both", "neither"]
)
def test_no_write_loses_a_root(main: Ca | None, spare: Ca | None, keep: set[str]) -> None:
    """From every state a few writes come to an end, and after each every root to be kept is still somewhere."""
    there = {SPARE: holding(SPARE, spare)} if spare else {}
    if main is not None:
        name = "cacerts" if main is ROOT else MAIN
        there[name] = stored(name, PLUGGED) if main is ROOT else holding(name, main)
    begin = reading_of(*there.values())
    writes = 0
    while write := next_write(reading_of(*there.values()), keep):
        there[write.name] = write
        writes += 1
        assert keep & begin.held.keys() <= reading_of(*there.values()).held.keys()
    assert writes <= 2


class TestToBeFollowed:
    """`to_be_followed`."""

    def test_found(self) -> None:
        """A root that was made can be followed, also when what follows is there or has become it."""
        for there in ([BOTH[0]], [*BOTH], [BOTH[0], holding(SPARE, OLD)]):
            found = to_be_followed(reading_of(*there), "", "here")
            assert found is not None
            assert found.id == OLD_ID

    def test_none(self) -> None:
        """Where nothing sound counts there is none."""
        assert to_be_followed(reading_of(BOTH[1]), "", "here") is None

    def test_plugged_in(self) -> None:
        """One that was plugged in is not followed by one that is made; it says where to put one."""
        with pytest.raises(Refused, match=r"Secret cacerts in here is plugged in, .*; put a signing certificate"):
            to_be_followed(reading_of(stored("cacerts", PLUGGED)), "", "here")

    def test_same_key(self) -> None:
        """Only the key of the root that counts can be used again."""
        found = to_be_followed(reading_of(BOTH[0]), OLD_ID, "here")
        assert found is not None
        with pytest.raises(
            Refused, match=f"there is no root {NEW_ID} whose key could be used again; name {OLD_ID}"
        ):
            to_be_followed(reading_of(BOTH[0]), NEW_ID, "here")

    def test_another_kind(self) -> None:
        """What follows already and is of another kind than was asked for is not taken for it."""
        with pytest.raises(Refused, match="has a key of its own"):
            to_be_followed(reading_of(*BOTH), OLD_ID, "here")
        twin = make_ca("twin", key=OLD.key)
        with pytest.raises(Refused, match="has the key of the one before"):
            to_be_followed(reading_of(BOTH[0], holding(SPARE, twin)), "", "here")

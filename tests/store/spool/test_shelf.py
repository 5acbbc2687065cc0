"""What is in the files of a replica, whichever of its processes wrote them."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from meshca.ledger.record import Issuance
from meshca.store.spool.lines import intent_line, outcome_line
from meshca.store.spool.shelf import Shelf, Tail
from meshca.store.spool.terms import NOTHING, Spooled
from tests.fakes.records import NOW, failed, intent, issued


def shelf(folder: Path, **files: bytes) -> Shelf:
    """The shelf of a folder with these files."""
    for name, content in files.items():
        (folder / f"{name}.jsonl").write_bytes(content)
    made = Shelf(folder)
    made.refresh()
    return made


def test_a_folder_that_is_not_there_is_empty(tmp_path: Path) -> None:
    """Nobody has needed one yet."""
    made = shelf(tmp_path / "none")
    assert (made.paths(), made.spooled, made.find("ab")) == ([], NOTHING, None)


def test_records_of_all_files_are_found(tmp_path: Path) -> None:
    """With an outcome in the same file or in a later one."""
    first, second, third = intent(), intent(), intent()
    a = intent_line(first) + outcome_line(issued(first)) + intent_line(second)
    made = shelf(tmp_path, a=a, b=outcome_line(failed(second)) + intent_line(third))
    assert [made.find(one.serial) for one in (first, second, third)] == [
        Issuance(intent=first, outcome=issued(first)),
        Issuance(intent=second, outcome=failed(second)),
        Issuance(intent=third),
    ]


def test_the_count_and_the_age_are_of_all_files(tmp_path: Path) -> None:
    """Intents only."""
    old, young = intent(intended_at=NOW - timedelta(hours=1)), intent()
    made = shelf(tmp_path, a=intent_line(young) + outcome_line(issued(young)), b=intent_line(old), c=b"")
    assert made.spooled == Spooled(records=2, oldest=old.intended_at)


def test_what_comes_later_is_read_later(tmp_path: Path) -> None:
    """A line at a time, once it is whole."""
    one = intent()
    line = intent_line(one)
    made = shelf(tmp_path, a=line[:-5])
    assert made.find(one.serial) is None
    (tmp_path / "a.jsonl").write_bytes(line)
    made.refresh()
    assert made.find(one.serial) == Issuance(intent=one)


def test_a_file_that_is_gone_is_forgotten(tmp_path: Path) -> None:
    """The store has it."""
    one = intent()
    made = shelf(tmp_path, a=intent_line(one))
    (tmp_path / "a.jsonl").unlink()
    made.refresh()
    assert (made.find(one.serial), made.spooled) == (None, NOTHING)


def test_what_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    """Such as a folder of that name."""
    (tmp_path / "a.jsonl").mkdir()
    assert shelf(tmp_path).spooled == NOTHING


def test_other_files_are_nobodys(tmp_path: Path) -> None:
    """Those that were set aside among them."""
    (tmp_path / "a.refused").write_bytes(intent_line(intent()))
    assert shelf(tmp_path).spooled == NOTHING


def test_damage_is_counted(tmp_path: Path) -> None:
    """A half line at the end is none."""
    one = intent()
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"{}\n" + intent_line(one) + b"\xff\n" + b'{"half')
    tail = Tail(path).read()
    assert (list(tail.intents), tail.damaged) == ([one.serial], 2)


def test_the_first_outcome_counts(tmp_path: Path) -> None:
    """As in the ledger."""
    one = intent()
    made = shelf(tmp_path, a=intent_line(one) + outcome_line(issued(one)) + outcome_line(failed(one)))
    assert made.find(one.serial) == Issuance(intent=one, outcome=issued(one))


def test_what_lives_is_told(tmp_path: Path) -> None:
    """Neither what has ended nor what failed."""
    living, over, bad = intent(), intent(not_after=NOW - timedelta(seconds=1)), intent()
    lines = map(intent_line, (living, over, bad))
    made = shelf(tmp_path, a=b"".join(lines) + outcome_line(failed(bad)) + outcome_line(issued(living)))
    assert [(one.serial, one.signer, one.issued_at) for one in made.live(NOW)] == [
        (living.serial, living.signer, living.intended_at)
    ]

"""The check that generated code is what its sources say."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tools import generate_proto

ADMIN = Path("meshca/admin/v1/admin_pb2.py")


@pytest.fixture
def target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the checked-in code, in place of it, and `--check` on the command line."""
    copy = tmp_path / "_proto"
    shutil.copytree(generate_proto.TARGET, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(generate_proto, "TARGET", copy)
    monkeypatch.setattr("sys.argv", ["generate_proto.py", "--check"])
    return copy


def test_what_is_checked_in_is_good(target: Path) -> None:
    """It is what `make proto` writes."""
    generate_proto.main()


@pytest.mark.parametrize(
    ("edit", "name"),
    [
        (lambda target: (target / ADMIN).write_text("edited"), str(ADMIN)),
        (lambda target: (target / ADMIN).unlink(), str(ADMIN)),
        (lambda target: (target / "old_pb2.pyi").touch(), "old_pb2.pyi"),
    ],
    ids=["edited", "missing", "left behind"],
)
def test_a_difference_is_refused(target: Path, edit: Callable[[Path], object], name: str) -> None:
    """By the file's name, with what to do; nothing is written."""
    edit(target)
    before = {path: path.read_bytes() for path in target.rglob("*") if path.is_file()}
    with pytest.raises(SystemExit) as caught:
        generate_proto.main()
    assert caught.value.code == f"meshca/_proto differs from proto/ in {name}: run `make proto`"
    assert {path: path.read_bytes() for path in target.rglob("*") if path.is_file()} == before

"""What the check of the repository's layout lets through."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.check_layout import LONG, LONGEST, WITHOUT_OWN_TEST, problems

COVERED = {"meshca/room/plain.py": "tests/room/test_thing.py"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository as it should be: a module with its test, and one that is covered elsewhere."""
    for name in (
        "meshca/room/__init__.py",
        "meshca/room/thing.py",
        "meshca/room/plain.py",
        "meshca/_proto/any_pb2.py",
        "meshca/store/migrations/first.py",
        "tests/room/test_thing.py",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("one line\n")
    return tmp_path


def test_the_repository_is_good() -> None:
    """Its modules, its rows."""
    assert problems(Path(__file__).resolve().parents[2], WITHOUT_OWN_TEST, LONG) == []


def test_a_good_one(root: Path) -> None:
    """Generated code, migrations and packages need no test of their own."""
    assert problems(root, COVERED, {}) == []


def test_a_module_without_a_test(root: Path) -> None:
    """It is told where the test belongs."""
    (root / "meshca/room/other.py").touch()
    (line,) = problems(root, COVERED, {})
    assert line.startswith("meshca/room/other.py: no tests/room/test_other.py; add it")


def test_a_test_that_is_gone(root: Path) -> None:
    """A module's own, or the one that covers it."""
    (root / "tests/room/test_thing.py").unlink()
    assert problems(root, COVERED, {}) == [
        "meshca/room/plain.py: its covering test tests/room/test_thing.py does not exist",
        "meshca/room/thing.py: no tests/room/test_thing.py; add it, or name the covering test in WITHOUT_OWN_TEST",
    ]


def test_a_row_of_a_module_that_is_gone(root: Path) -> None:
    """Rows do not outlive their modules."""
    assert problems(root, COVERED | {"meshca/none.py": "tests/room/test_thing.py"}, {"meshca/nil.py": "long"}) == [
        f"tools/check_layout.py: meshca/{name}.py is gone; drop its row" for name in ("nil", "none")
    ]


@pytest.mark.parametrize("name", ["utils", "helpers", "grpc"])
def test_a_name_that_says_nothing(root: Path, name: str) -> None:
    """Or that shadows a library."""
    (root / "meshca/room/thing.py").rename(root / f"meshca/room/{name}.py")
    (root / "tests/room/test_thing.py").rename(root / f"tests/room/test_{name}.py")
    (line,) = problems(root, {"meshca/room/plain.py": f"tests/room/test_{name}.py"}, {})
    assert line.startswith(f"meshca/room/{name}.py: the name says nothing or shadows a library")


def test_a_long_file(root: Path) -> None:
    """One line over the limit is too long, unless a row says why."""
    path = root / "meshca/room/thing.py"
    path.write_text("x\n" * LONGEST)
    assert problems(root, COVERED, {}) == []
    path.write_text("x\n" * (LONGEST + 1))
    (line,) = problems(root, COVERED, {})
    assert line.startswith("meshca/room/thing.py: 301 lines, at most 300")
    assert problems(root, COVERED, {"meshca/room/thing.py": "a table"}) == []

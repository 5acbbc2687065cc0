"""What becomes of tests whose real part is missing: said, and an error when the part is required."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SUITE = """
import pytest

def test_plain():
    pass

@pytest.mark.real("here")
def test_with_a_part_that_is_here():
    pass

@pytest.mark.real("gone")
@pytest.mark.parametrize("number", [1, 2])
def test_with_a_part_that_is_gone(number):
    raise AssertionError
"""
# Parts as a machine might have them, in place of those that this one has.
PARTS = """
import tests.conftest

tests.conftest.PARTS.clear()
tests.conftest.PARTS.update(here=object, gone=lambda: None)
"""
SETTINGS = "[pytest]\nmarkers = real(part): needs a part\n"
LEFT_OUT = "left out: 2 tests need gone, which this machine does not have"


def run(folder: Path, *arguments: str, require: str = "") -> subprocess.CompletedProcess[str]:
    """A suite of four tests under the rules of ours."""
    for name, text in (("test_suite.py", SUITE), ("its_parts.py", PARTS), ("pytest.ini", SETTINGS)):
        (folder / name).write_text(text)
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "its_parts", *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    return subprocess.run(
        [*command, "-c", str(folder / "pytest.ini"), "-p", "no:cacheprovider", str(folder)],
        cwd=ROOT,
        env=environment | {"PYTHONPATH": str(folder), "MESHCA_REQUIRE": require},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("arguments", [[], ["-n", "2"]], ids=["alone", "by two workers"])
def test_a_missing_part_is_said_in_one_line(tmp_path: Path, arguments: list[str]) -> None:
    """With the number of tests left out, each counted once; the others run."""
    done = run(tmp_path, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line for line in done.stdout.splitlines() if line.startswith("left out")] == [LEFT_OUT]
    assert "2 passed" in done.stdout


def test_a_required_part_that_is_here(tmp_path: Path) -> None:
    """Nothing changes."""
    done = run(tmp_path, require="here, ")
    assert done.returncode == 0, done.stdout + done.stderr
    assert LEFT_OUT in done.stdout


@pytest.mark.parametrize(
    ("require", "problem"),
    [
        ("gone", "MESHCA_REQUIRE names gone, which this machine does not have"),
        ("here,gone", "MESHCA_REQUIRE names gone, which this machine does not have"),
        ("other", "MESHCA_REQUIRE names other; known are gone, here"),
    ],
    ids=["missing", "one of two missing", "unknown"],
)
def test_a_required_part_that_is_not(tmp_path: Path, require: str, problem: str) -> None:
    """No test runs, so that nothing can look green."""
    done = run(tmp_path, require=require)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR, done.stdout + done.stderr
    assert problem in done.stderr
    assert "passed" not in done.stdout

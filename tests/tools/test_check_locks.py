"""What the check of the lock files lets through."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.check_locks import names, problems, problems_of

HASH = "    --hash=sha256:" + "0" * 64
GOOD = f"good==1.2.3 \\\n{HASH} \\\n{HASH}\n    # via other\nother==2 ; python_full_version < '3.12' \\\n{HASH}\n"


def test_the_repositorys_lock_files_are_good() -> None:
    """They are what `make lock` writes."""
    assert problems(Path(__file__).resolve().parents[2]) == []


def test_names_are_normalised() -> None:
    """Extras, versions and spelling do not count."""
    assert names(["PyJWT>=2", "coverage[toml]>=7", "a_b.C"]) == {"pyjwt", "coverage", "a-b-c"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param(GOOD, None, id="good"),
        pytest.param("good==1\n", "good has no hash", id="no-hash"),
        pytest.param(f"good>=1 \\\n{HASH}\n", "expected name==version", id="range"),
        pytest.param(f"good @ https://host/x.whl \\\n{HASH}\n", "expected name==version", id="address"),
        pytest.param(f"--index-url https://host/\n{GOOD}", "expected name==version", id="index"),
        pytest.param(f"{GOOD}# from https://host/\n", "expected name==version", id="address-in-a-comment"),
        pytest.param(GOOD.replace("sha256", "md5"), "expected name==version or a SHA-256", id="weak-hash"),
        pytest.param(f"bad==1 \\\n{HASH}\n", "good is missing", id="missing"),
    ],
)
def test_refuses(tmp_path: Path, text: str, problem: str | None) -> None:
    """Only pins with hashes, all that is wanted, no addresses."""
    (tmp_path / "lock.txt").write_text(text)
    found = problems_of(tmp_path / "lock.txt", {"good"})
    assert any(problem in line for line in found) if problem else found == []

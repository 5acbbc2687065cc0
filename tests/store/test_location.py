"""Where the database is, and who may read it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshca.errors import ConfigError
from meshca.store.location import check_file, check_location, is_shared, prepare, sqlite_file


def mode(path: Path) -> int:
    """The permission bits."""
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("sqlite:////var/lib/meshca/meshca.db", Path("/var/lib/meshca/meshca.db")),
        ("sqlite:////tmp/with space.db", Path("/tmp/with space.db")),
        ("sqlite:///relative.db", Path.cwd() / "relative.db"),
    ],
)
def test_a_sqlite_url_names_a_file(url: str, expected: Path) -> None:
    """As SQLAlchemy writes it."""
    assert sqlite_file(url) == expected


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "expected sqlite:///"),
        ("/var/lib/meshca.db", "expected sqlite:///"),
        ("sqlite://", "a file that several processes share"),
        ("sqlite:///", "a file that several processes share"),
        ("sqlite:///:memory:", "a file that several processes share"),
        ("sqlite:////x.db?mode=ro", "without options"),
        ("sqlite+aiosqlite:////x.db", "sqlite is not supported"),
        ("postgresql://user:hunter2@db/meshca", "is a PostgreSQL, which is no file"),
        ("postgresql+psycopg://user:hunter2@db/meshca", "use sqlite:////absolute/path.db, postgresql://"),
        ("mysql://user:hunter2@db/meshca", "mysql is not supported"),
        ("sqlite://host/x.db", "without options"),
        ("sqlite:////x\0.db", "a file that several processes share"),
        ("hunter2@db://x", "expected sqlite:///"),
    ],
)
def test_other_urls_are_refused(url: str, words: str) -> None:
    """With what to write instead, and never with the password."""
    with pytest.raises(ConfigError) as caught:
        sqlite_file(url)
    assert words in caught.value.problems[0]
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://db/meshca", True),
        ("postgres:///meshca", True),
        ("postgresql+psycopg://db/meshca", False),
        ("sqlite:////x.db", False),
        ("postgresql", True),  # to be refused there, with what a good one looks like
        ("", False),
    ],
)
def test_a_shared_database_is_told_by_its_scheme(url: str, expected: bool) -> None:  # noqa: FBT001 - a row's answer
    """Only in libpq's own spellings."""
    assert is_shared(url) is expected


def test_a_shared_database_is_checked_without_asking_it() -> None:
    """Its URL is read; nothing needs to be there."""
    check_location("postgresql://nowhere.invalid/meshca")
    with pytest.raises(ConfigError, match="a PostgreSQL password must not stand in the configuration"):
        check_location("postgresql://user:hunter2@db/meshca")


def test_a_file_is_checked(tmp_path: Path) -> None:
    """As `check_file` does."""
    check_location(f"sqlite:///{tmp_path}/meshca.db")
    with pytest.raises(ConfigError, match="is no regular file"):
        check_location(f"sqlite:///{tmp_path}")


@given(st.text())
def test_any_text_is_a_file_or_refused(url: str) -> None:
    """A law: nothing but ConfigError comes out."""
    try:
        assert sqlite_file(url).is_absolute()
    except ConfigError:
        return


def test_folder_and_file_are_private(tmp_path: Path) -> None:
    """0700 and 0600, whatever the umask."""
    path = tmp_path / "data" / "meshca.db"
    prepare(path)
    assert (mode(path.parent), mode(path)) == (0o700, 0o600)


def test_an_open_file_is_closed_to_others(tmp_path: Path) -> None:
    """And keeps its content."""
    path = tmp_path / "meshca.db"
    path.write_text("content")
    path.chmod(0o644)
    prepare(path)
    assert (mode(path), path.read_text()) == (0o600, "content")


def test_an_existing_folder_is_left_as_it_is(tmp_path: Path) -> None:
    """It may hold other things."""
    tmp_path.chmod(0o755)
    prepare(tmp_path / "meshca.db")
    prepare(tmp_path / "meshca.db")
    assert mode(tmp_path) == 0o755


def test_a_place_that_cannot_be_is_refused(tmp_path: Path) -> None:
    """With what to do."""
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError) as caught:
        prepare(tmp_path / "file" / "meshca.db")
    assert "Not a directory" in caught.value.problems[0] or "File exists" in caught.value.problems[0]


class TestCheckFile:
    """`check_file`: what would be refused, without making or changing anything."""

    def test_good(self, tmp_path: Path) -> None:
        """A missing file in a folder that could be made, an open one that is ours to close."""
        check_file(tmp_path / "data" / "meshca.db")
        assert list(tmp_path.iterdir()) == []
        path = tmp_path / "meshca.db"
        path.touch(0o644)
        check_file(path)
        assert mode(path) == 0o644

    def test_no_file(self, tmp_path: Path) -> None:
        """A folder or pipe in its place."""
        os.mkfifo(tmp_path / "pipe")
        for path in (tmp_path, tmp_path / "pipe"):
            with pytest.raises(ConfigError, match="is no regular file"):
                check_file(path)

    @pytest.mark.parametrize(
        ("file_mode", "allowed"),
        [pytest.param(0o600, False, id="not writable"), pytest.param(0o666, True, id="not ours to close")],
    )
    def test_of_another_user(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file_mode: int, *, allowed: bool
    ) -> None:
        """With the command that mends it."""
        path = tmp_path / "meshca.db"
        path.touch()
        path.chmod(file_mode)
        us = path.stat().st_uid + 1
        monkeypatch.setattr(os, "geteuid", lambda: us)
        monkeypatch.setattr(os, "access", lambda found, *_, **__: allowed or found == tmp_path)
        with pytest.raises(ConfigError, match=f"run: chown {us} {path}"):
            check_file(path)

    def test_folder_that_cannot_be_written(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """SQLite makes files beside it."""
        monkeypatch.setattr(os, "access", lambda *_, **__: False)
        with pytest.raises(ConfigError, match="writable for this user"):
            check_file(tmp_path / "meshca.db")

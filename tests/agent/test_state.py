"""What the agent keeps on disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshca.agent.state import State
from meshca.errors import ConfigError
from tests.fakes.logs import captured_logs


def test_a_record_is_there_after_a_restart(tmp_path: Path) -> None:
    """Read back as it was written."""
    State(tmp_path / "state").save("trust", {"a": "b"})
    assert State(tmp_path / "state").load("trust") == {"a": "b"}


def test_nothing_is_there_on_the_first_day(tmp_path: Path) -> None:
    """And that is no error."""
    with captured_logs() as logs:
        assert State(tmp_path).load("trust") is None
    assert logs == []


def test_only_the_owner_can_read_it(tmp_path: Path) -> None:
    """0700 and 0600."""
    State(tmp_path / "state").save("trust", {})
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "state" / "trust.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"a": 1}', b"\xff", b"[" * 100_000],
    ids=["", "{", "[]", "number", "bytes", "deep"],
)
def test_a_damaged_record_counts_as_absent(tmp_path: Path, content: bytes) -> None:
    """And is mentioned in the log."""
    (tmp_path / "trust.json").write_bytes(content)
    with captured_logs() as logs:
        assert State(tmp_path).load("trust") is None
    assert [entry["event"] for entry in logs] == ["state.unreadable"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """With the option that names another."""
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="--state-dir"):
        State(tmp_path / "file" / "state")


def test_a_full_disk_keeps_the_old_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The agent goes on with what it has in memory."""
    kept = State(tmp_path)
    kept.save("trust", {"a": "old"})

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with captured_logs() as logs:
        kept.save("trust", {"a": "new"})
    assert kept.load("trust") == {"a": "old"}
    assert logs[0]["event"] == "state.not_saved"
    assert [path.name for path in tmp_path.iterdir()] == ["trust.json"]

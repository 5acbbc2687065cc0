"""What the processes of many agents write of acknowledgements."""

from __future__ import annotations

from pathlib import Path

from bench.crowd import Ack, acks_file, read_acks


def test_each_line_is_an_acknowledgement(tmp_path: Path) -> None:
    """Whose, when, and by whom the leaf was signed."""
    path = acks_file(tmp_path, 0)
    path.write_text("3 12.5 aa\n4 13.0 bb\n")
    assert list(read_acks(path)) == [Ack(agent=3, at=12.5, signer="aa"), Ack(agent=4, at=13.0, signer="bb")]


def test_a_line_that_is_being_written_is_none(tmp_path: Path) -> None:
    """Half a number would be another one."""
    path = acks_file(tmp_path, 0)
    path.write_text("3 12.5 aa\n4 13")
    assert [ack.agent for ack in read_acks(path)] == [3]


def test_before_the_first(tmp_path: Path) -> None:
    """The file comes with its process."""
    assert list(read_acks(acks_file(tmp_path, 0))) == []

"""Facts about logging."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from meshca import log as logging_
from meshca.log import MAX_WAITING, Lines, configure
from meshca.secret import Secret


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    before = structlog.get_config()
    yield
    structlog.configure(**before)


class Pipe:
    """A pipe whose writing end looks like standard error."""

    def __init__(self) -> None:
        read, write = os.pipe()
        self.reader = os.fdopen(read, "rb")
        self.writer = os.fdopen(write, "wb", buffering=0)

    def lines(self) -> list[dict[str, Any]]:
        """Everything written; closes the pipe."""
        self.writer.close()
        with self.reader:
            return [json.loads(line) for line in self.reader.read().splitlines()]


def test_json_line_has_time_level_event_first() -> None:
    """A line off a terminal is JSON: time, level, event, fixed fields, then the event's own."""
    pipe = Pipe()
    configure(stream=pipe.writer, worker="w0")
    structlog.get_logger().info("something.happened", b=1, a="x")
    (line,) = pipe.lines()
    assert list(line) == ["time", "level", "event", "worker", "b", "a"]
    assert line["event"] == "something.happened"


def test_configured_again() -> None:
    """Another level holds for the logger that is in use already."""
    before = vars(logging_.log).copy()
    pipe = Pipe()
    try:
        configure(stream=pipe.writer, level="warning")
        logging_.log.info("quiet")
        configure(stream=pipe.writer, level="info")
        logging_.log.info("loud")
    finally:
        vars(logging_.log).clear()
        vars(logging_.log).update(before)
    assert [line["event"] for line in pipe.lines()] == ["loud"]


def test_below_level_is_not_written() -> None:
    """Events below the level are not written."""
    pipe = Pipe()
    configure(stream=pipe.writer, level="warning")
    structlog.get_logger().info("quiet")
    structlog.get_logger().warning("loud")
    assert [line["event"] for line in pipe.lines()] == ["loud"]


def test_secret_prints_stars() -> None:
    """A secret among the fields is written as ***."""
    pipe = Pipe()
    configure(stream=pipe.writer)
    structlog.get_logger().info("x", token=Secret("abc"))
    assert pipe.lines()[0]["token"] == "***"


def _fail_beside(hidden: str) -> None:
    raise ValueError(len(hidden))


def test_traceback_has_no_local_variables() -> None:
    """An exception is written with its traceback and without the values of local variables."""
    pipe = Pipe()
    configure(stream=pipe.writer)
    try:
        _fail_beside("key" * 3)
    except ValueError:
        structlog.get_logger().exception("x")
    (line,) = pipe.lines()
    assert "Traceback" in line["exception"]
    assert "keykeykey" not in line["exception"]


def test_text_shows_control_characters_escaped() -> None:
    """Text for a terminal never carries a client's control characters."""
    pipe = Pipe()
    configure(stream=pipe.writer, format_="text")
    structlog.get_logger().info("x", name="\x1b[31mred\x07", many=3)
    pipe.writer.close()
    with pipe.reader:
        text = pipe.reader.read()
    assert b"\x1b[31mred" not in text
    assert b"\\x1b[31mred\\x07" in text


def test_batched_lines_arrive_in_order() -> None:
    """A batching writer writes every line, in order."""
    pipe = Pipe()
    lines = configure(stream=pipe.writer, batching=True)
    for number in range(100):
        structlog.get_logger().info("x", number=number)
    lines.flush()
    assert [line["number"] for line in pipe.lines()] == list(range(100))


def test_batch_is_written_without_being_flushed() -> None:
    """A batched line is written soon by itself."""
    pipe = Pipe()
    configure(stream=pipe.writer, batching=True)
    structlog.get_logger().info("x")
    with pipe.reader, pipe.writer:
        assert json.loads(pipe.reader.readline())["event"] == "x"


def test_lines_beyond_the_bound_are_dropped_and_counted() -> None:
    """When the reader does not keep up, lines are dropped and the loss is said."""
    pipe = Pipe()
    lines = Lines(pipe.writer, batching=True)
    lines._work.set = lambda: None  # type: ignore[method-assign] # keeps the thread asleep
    for _ in range(MAX_WAITING + 7):
        lines.msg(b"")
    lines.flush()
    (line,) = pipe.lines()
    assert (line["event"], line["lines"]) == ("log.dropped", 7)


def test_gone_reader_is_no_error() -> None:
    """A closed standard error does not raise in who logs."""
    pipe = Pipe()
    configure(stream=pipe.writer)
    pipe.reader.close()
    structlog.get_logger().info("x")
    pipe.writer.close()


def test_unconfigured_writes_warnings_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    """Before a composition root configures it, logging writes warnings to standard error only."""
    logging_.log.info("quiet")
    logging_.log.warning("loud")
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "loud" in shown.err
    assert "quiet" not in shown.err


def test_unconfigured_survives_closed_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Logging to a standard error that is closed does not raise."""
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed)
    logging_._Late()._write(b"x\n")


@pytest.mark.parametrize("before", ["", "import rich;"], ids=["rich absent", "rich loaded before"])
def test_rich_stays_out(before: str, tmp_path: Path) -> None:
    """Importing the log neither loads rich nor takes it from who has it."""
    code = f"import sys;{before}import meshca.log;print('rich' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == str(bool(before))

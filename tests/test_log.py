"""Facts about logging."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import threading
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


def configured() -> Lines:
    """The writer in use."""
    lines = structlog.get_config()["logger_factory"]
    assert isinstance(lines, Lines)
    return lines


class Pipe:
    """A pipe whose writing end looks like standard error."""

    def __init__(self) -> None:
        read, write = os.pipe()
        self.reader = os.fdopen(read, "rb")
        self.writer = os.fdopen(write, "wb", buffering=0)

    def fill(self) -> int:
        """Write until nothing more fits, and how much that was."""
        os.set_blocking(self.writer.fileno(), False)
        filled = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                filled += os.write(self.writer.fileno(), b"x" * 4096)
        os.set_blocking(self.writer.fileno(), True)
        return filled

    def lines(self) -> list[dict[str, Any]]:
        """Everything written; closes the log and the pipe."""
        configured().close()
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
    configured().close()
    pipe.writer.close()
    with pipe.reader:
        text = pipe.reader.read()
    assert b"\x1b[31mred" not in text
    assert b"\\x1b[31mred\\x07" in text


def test_lines_arrive_in_order() -> None:
    """Every line is written, in order."""
    pipe = Pipe()
    configure(stream=pipe.writer)
    for number in range(100):
        structlog.get_logger().info("x", number=number)
    assert [line["number"] for line in pipe.lines()] == list(range(100))


def test_line_is_written_soon() -> None:
    """A line is written by itself, without waiting for others."""
    pipe = Pipe()
    configure(stream=pipe.writer)
    structlog.get_logger().info("x")
    with pipe.reader, pipe.writer:
        assert json.loads(pipe.reader.readline())["event"] == "x"


def test_reader_that_does_not_read_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a full pipe lines are dropped and counted, nobody waits, and the end does not for ever."""
    monkeypatch.setattr(logging_, "CLOSE_SECONDS", 0.1)
    pipe = Pipe()
    filled = pipe.fill()
    lines = configure(stream=pipe.writer)
    for _ in range(2 * MAX_WAITING + 7):  # more than wait and are being written
        lines.msg(b"{}\n")
    lines.close()
    assert lines._thread.is_alive()
    with pipe.reader, pipe.writer:
        assert pipe.reader.read(filled) == b"x" * filled
        lines._thread.join()
        pipe.writer.close()
        *written, dropped = map(json.loads, pipe.reader.read().splitlines())
    assert (dropped["event"], len(written) + dropped["lines"]) == ("log.dropped", 2 * MAX_WAITING + 7)


def test_configured_again_for_one_stream() -> None:
    """One stream has one writer and one thread, however often it is configured: two would tear lines."""
    pipe = Pipe()
    first = configure(stream=pipe.writer)
    before = threading.active_count()
    assert configure(stream=pipe.writer, level="error") is first
    assert threading.active_count() == before
    pipe.lines()


def test_configured_for_another_stream() -> None:
    """The writer of the stream before writes what it has and ends."""
    one, two = Pipe(), Pipe()
    first = configure(stream=one.writer)
    structlog.get_logger().info("x")
    second = configure(stream=two.writer)
    assert (first is second, first._thread.is_alive()) == (False, False)
    assert two.lines() == []
    with one.reader, one.writer:
        assert json.loads(one.reader.readline())["event"] == "x"


def test_configured_after_the_end() -> None:
    """A writer that has been closed is not used again."""
    pipe = Pipe()
    configure(stream=pipe.writer).close()
    configure(stream=pipe.writer)
    structlog.get_logger().info("x")
    assert [line["event"] for line in pipe.lines()] == ["x"]


def test_exit_writes_what_waits() -> None:
    """A process that ends has written its last line, and has ended although nobody reads."""
    code = (
        "import os, sys; from meshca.log import configure, log; configure();"
        "sys.argv[1:] and [os.write(2, b'x' * 4096) for _ in range(16)]; log.info('last')"
    )
    whole = subprocess.run([sys.executable, "-c", code], stderr=subprocess.PIPE, check=True)
    assert json.loads(whole.stderr)["event"] == "last"
    with subprocess.Popen([sys.executable, "-c", code, "full"], stderr=subprocess.PIPE) as stuck:
        assert stuck.wait(30) == 0


def test_gone_reader_is_no_error() -> None:
    """A closed standard error does not raise in who logs, and ends nothing."""
    pipe = Pipe()
    lines = configure(stream=pipe.writer)
    pipe.reader.close()
    structlog.get_logger().info("x")
    lines._work.wait()
    assert lines._thread.is_alive()
    lines.close()
    assert not lines._thread.is_alive()
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
    logging_._Late().msg(b"x\n")


@pytest.mark.parametrize("before", ["", "import rich;"], ids=["rich absent", "rich loaded before"])
def test_rich_stays_out(before: str, tmp_path: Path) -> None:
    """Importing the log neither loads rich nor takes it from who has it."""
    code = f"import sys;{before}import meshca.log;print('rich' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == str(bool(before))

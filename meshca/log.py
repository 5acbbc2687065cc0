"""Logging: constant event names with fields, JSON off a terminal, one line written at a time and never halfway.

Fields are chosen by the caller; keys and tokens travel as `Secret` and print `***`, CSRs are logged as hashes.
A traceback shows code and messages, never local variables: those hold keys. The agent uses this module, so it
must stay small: structlog would import rich if it could, which costs 7 MB and shows local variables.
"""

from __future__ import annotations

import atexit
import collections
import contextlib
import logging
import os
import sys
import threading
from collections.abc import Iterator
from typing import IO, Any, Final, Literal

import orjson

from meshca.printable import printable

_rich = sys.modules.get("rich")
sys.modules["rich"] = None  # type: ignore[assignment] # None makes `import rich` fail: Python's import protocol
try:
    import structlog
finally:
    del sys.modules["rich"]
    if _rich is not None:
        sys.modules["rich"] = _rich

from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger  # noqa: E402 - after the guard above

LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
Level = Literal["debug", "info", "warning", "error"]
Format = Literal["auto", "json", "text"]

BATCH_SECONDS = 0.02  # how long a line may wait for company
CLOSE_SECONDS = 1.0  # for what waits to be written at the end; longer is waited for no reader
MAX_WAITING = 20_000  # lines; beyond it (a reader that stopped reading) lines are dropped and counted

log: FilteringBoundLogger = structlog.get_logger()


class Lines:
    """The one writer of a process's log, past the stream's own buffer.

    A thread writes what has gathered, so that a reader of our standard error that is slow, or has stopped reading,
    never holds up the event loop.
    """

    def __init__(self, stream: IO[Any]) -> None:
        self.stream = stream
        self.closed = False
        self._waiting: collections.deque[bytes] = collections.deque()
        self._dropped = 0
        self._told = 0  # of those dropped
        self._work = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def __call__(self, *_: object) -> Lines:
        """This is also structlog's logger factory: one logger for all."""
        return self

    def msg(self, line: bytes) -> None:
        """Queue one rendered line that ends in a newline; after `close` it is lost."""
        if len(self._waiting) >= MAX_WAITING:
            self._dropped += 1
        else:
            self._waiting.append(line)
            if not self._work.is_set():
                self._work.set()

    debug = info = warning = error = critical = exception = msg

    def close(self) -> None:
        """Write everything that waits and end the thread; one whose reader does not read is left to the exit."""
        atexit.unregister(self.close)
        self.closed = True
        self._closing.set()
        self._work.set()
        self._thread.join(CLOSE_SECONDS)

    def _run(self) -> None:
        while not self._closing.is_set():
            self._work.wait()
            self._closing.wait(BATCH_SECONDS)
            self._work.clear()
            self._write(b"".join(self._taken()))
        self._write(b"".join(self._taken()))  # what came while the last was written

    def _taken(self) -> Iterator[bytes]:
        while self._waiting:
            yield self._waiting.popleft()
        if lost := self._dropped - self._told:
            self._told += lost
            yield orjson.dumps({"level": "warning", "event": "log.dropped", "lines": lost}) + b"\n"

    def _write(self, data: bytes) -> None:
        # A log whose reader is gone (closed stream or pipe, full disk) must not take the service down.
        with contextlib.suppress(OSError, ValueError):
            fd = self.stream.fileno()
            while data:
                data = data[os.write(fd, data) :]


def _shown(value: object) -> object:
    return printable(value, keep="\n") if isinstance(value, str) else value


class _Rendered:
    """The last processor: one event as bytes, with the same fields first in every line."""

    def __init__(self, *, text: bool, fields: dict[str, object]) -> None:
        self._fields = fields
        self._time = structlog.processors.TimeStamper(fmt="iso", utc=True, key="time")
        self._text = structlog.dev.ConsoleRenderer(
            colors=text and sys.stderr.isatty(),
            timestamp_key="time",
            exception_formatter=structlog.dev.plain_traceback,  # never local variables
        )
        self._is_text = text

    def __call__(self, logger: WrappedLogger, name: str, event: EventDict) -> bytes:
        if "exc_info" in event:
            event = structlog.processors.format_exc_info(logger, name, event)
        line: dict[str, Any] = {"time": "", "level": name, "event": event.pop("event"), **self._fields, **event}
        self._time(logger, name, line)
        if not self._is_text:
            return orjson.dumps(line, default=str) + b"\n"
        shown = {key: _shown(value) for key, value in line.items()}
        return self._text(logger, name, shown).encode("utf-8", "backslashreplace") + b"\n"


def configure(
    *,
    level: Level = "info",
    format_: Format = "auto",
    stream: IO[Any] | None = None,
    **fields: object,
) -> Lines:
    """Set up logging for this process; called by its composition root, again when level or format change.

    Args:
        level: events below it cost almost nothing and are not written.
        format_: `auto` is text on a terminal and JSON elsewhere.
        stream: where to; standard error when None.
        fields: written in every line, such as worker=1.
    """
    stream = stream or sys.stderr
    text = format_ == "text" or (format_ == "auto" and stream.isatty())
    lines = _writer(stream)
    structlog.configure(
        processors=[_Rendered(text=text, fields=fields)],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=lines,
        cache_logger_on_first_use=True,
    )
    vars(log).pop("bind", None)  # what structlog made at the first use, before this
    return lines


def _writer(stream: IO[Any]) -> Lines:
    """The writer in use when it writes there: two would tear each other's lines. Any other is ended."""
    in_use = structlog.get_config()["logger_factory"]
    if isinstance(in_use, Lines):
        if in_use.stream is stream and not in_use.closed:
            return in_use
        in_use.close()
    return Lines(stream)


class _Late:
    """Writes at once, and finds standard error only then: pytest and shells replace it."""

    def __call__(self, *_: object) -> _Late:
        return self

    def msg(self, line: bytes) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(line.decode())

    debug = info = warning = error = critical = exception = msg


# Until configured (commands, tests): warnings and errors as text, never on standard output.
structlog.configure(
    processors=[_Rendered(text=True, fields={})],
    wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
    logger_factory=_Late(),
    cache_logger_on_first_use=False,
)

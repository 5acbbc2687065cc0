"""Logging: constant event names with fields, JSON off a terminal, one line written at a time and never halfway.

Fields are chosen by the caller; keys and tokens travel as `Secret` and print `***`, CSRs are logged as hashes.
A traceback shows code and messages, never local variables: those hold keys. The agent uses this module, so it
must stay small: structlog would import rich if it could, which costs 7 MB and shows local variables.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import sys
import threading
from typing import IO, Any, Final, Literal

import orjson

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

BATCH_SECONDS = 0.02  # how long a line may wait for company when batching
MAX_WAITING = 20_000  # lines; beyond it (a reader that stopped reading) lines are dropped and counted

log: FilteringBoundLogger = structlog.get_logger()


class Lines:
    """The one writer of a process's log, past the stream's own buffer.

    Direct: each line is one write. Batching: a thread writes what has gathered, so that a slow reader of our
    standard error never holds up the event loop.
    """

    def __init__(self, stream: IO[Any], *, batching: bool) -> None:
        self._stream = stream
        self._batching = batching
        self._waiting: list[bytes] = []
        self._dropped = 0
        self._lock = threading.Lock()
        self._work = threading.Event()
        if batching:
            threading.Thread(target=self._run, name="log", daemon=True).start()
            atexit.register(self.flush)

    def __call__(self, *_: object) -> Lines:
        """This is also structlog's logger factory: one logger for all."""
        return self

    def msg(self, line: bytes) -> None:
        """Write, or queue, one rendered line that ends in a newline."""
        if not self._batching:
            self._write(line)
        elif len(self._waiting) >= MAX_WAITING:
            self._dropped += 1
        else:
            self._waiting.append(line)
            if not self._work.is_set():
                self._work.set()

    debug = info = warning = error = critical = exception = msg

    def flush(self) -> None:
        """Write everything that waits."""
        with self._lock:
            waiting, self._waiting = self._waiting, []
            dropped, self._dropped = self._dropped, 0
            if dropped:
                waiting.append(
                    orjson.dumps({"level": "warning", "event": "log.dropped", "lines": dropped}) + b"\n"
                )
            self._write(b"".join(waiting))

    def _run(self) -> None:
        pause = threading.Event()
        while True:
            self._work.wait()
            self._work.clear()
            pause.wait(BATCH_SECONDS)
            self.flush()

    def _write(self, data: bytes) -> None:
        # A log whose reader is gone (closed stream or pipe, full disk) must not take the service down.
        with contextlib.suppress(OSError, ValueError):
            fd = self._stream.fileno()
            while data:
                data = data[os.write(fd, data) :]


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
        shown = {key: _printable(value) for key, value in line.items()}
        return self._text(logger, name, shown).encode("utf-8", "backslashreplace") + b"\n"


def _printable(value: object) -> object:
    """Text without control characters: a terminal must not obey what a client wrote."""
    if not isinstance(value, str):
        return value
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in value)


def configure(
    *,
    level: Level = "info",
    format_: Format = "auto",
    batching: bool = False,
    stream: IO[Any] | None = None,
    **fields: object,
) -> Lines:
    """Set up logging for this process; called by its composition root, again when level or format change.

    Args:
        level: events below it cost almost nothing and are not written.
        format_: `auto` is text on a terminal and JSON elsewhere.
        batching: whether a thread writes the lines (servers) or the caller does.
        stream: where to; standard error when None.
        fields: written in every line, such as worker=1.
    """
    stream = stream or sys.stderr
    text = format_ == "text" or (format_ == "auto" and stream.isatty())
    lines = Lines(stream, batching=batching)
    structlog.configure(
        processors=[_Rendered(text=text, fields=fields)],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=lines,
        cache_logger_on_first_use=True,
    )
    vars(log).pop("bind", None)  # what structlog made at the first use, before this
    return lines


class _Late(Lines):
    """Finds standard error only when something is written: pytest and shells replace it."""

    def __init__(self) -> None:
        super().__init__(sys.stderr, batching=False)

    def _write(self, data: bytes) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(data.decode())


# Until configured (commands, tests): warnings and errors as text, never on standard output.
structlog.configure(
    processors=[_Rendered(text=True, fields={})],
    wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
    logger_factory=_Late(),
    cache_logger_on_first_use=False,
)

"""Tells the demo's steps one after the other, and names the one that fails.

What is shown where is the display's business (cli.demo_display). Log lines that are shown after a failure pass
`without_secrets`, although no process of ours logs any: a demo is run on other people's screens.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

import aiohttp

from meshca.clock import Clock
from meshca.errors import MeshcaError, Unavailable

TAIL_LINES = 8
_TOKEN = re.compile(r"eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_PEM = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)
Tail = Callable[[], str]


@dataclass(slots=True, kw_only=True)
class Step:
    """One step while it runs, and what it showed.

    Attributes:
        title: what is shown, as a statement.
        lines: details for people.
        facts: the same for scripts.
        seconds: how long it took.
        note: shows what goes on now, until the next note.
    """

    title: str
    note: Callable[[str], None]
    lines: list[str] = field(default_factory=list)
    facts: dict[str, object] = field(default_factory=dict)
    seconds: float = 0.0

    def say(self, line: str, **facts: object) -> None:
        """Add a detail, and the facts it states."""
        self.lines.append(line)
        self.facts.update(facts)


class Display(Protocol):
    """Where the story is shown."""

    def running(self, title: str) -> AbstractContextManager[Callable[[str], None]]:
        """A step runs, until the end of the block; gives what shows what goes on in it."""
        ...

    def done(self, step: Step) -> None:
        """The step showed what it was to show."""
        ...

    def failed(self, title: str, detail: str, logs: Mapping[str, Sequence[str]]) -> None:
        """The step failed; `logs` has the last lines of each process concerned."""
        ...


class Teller:
    """Runs steps and keeps what each showed."""

    def __init__(self, display: Display, clock: Clock) -> None:
        self._display = display
        self.clock = clock
        self._tails: dict[str, Tail] = {}
        self.told: list[Step] = []

    def watch(self, name: str, tail: Tail) -> None:
        """Remember how to read the end of a process's log."""
        self._tails[name] = tail

    @contextlib.contextmanager
    def step(self, title: str, *concerned: str) -> Iterator[Step]:
        """Show one step.

        Args:
            title: what it shows.
            concerned: words in the names of the processes whose last log lines explain a failure; the empty
                word is in all of them.

        Raises:
            Unavailable: reason `demo_step`, naming the step, when anything in it failed.
        """
        began = self.clock.monotonic()
        try:
            with self._display.running(title) as note:
                step = Step(title=title, note=note)
                yield step
        except (MeshcaError, OSError, aiohttp.ClientError) as error:
            detail = without_secrets(error.detail if isinstance(error, MeshcaError) else _said(error))
            self._display.failed(title, detail, self._logs(concerned))
            raise Unavailable("demo_step", f"step `{title}` failed: {detail}") from None
        step.seconds = self.clock.monotonic() - began
        self.told.append(step)
        self._display.done(step)

    def _logs(self, concerned: Sequence[str]) -> dict[str, Sequence[str]]:
        chosen = {name: tail for name, tail in self._tails.items() if any(word in name for word in concerned)}
        return {name: without_secrets(tail()).splitlines()[-TAIL_LINES:] for name, tail in chosen.items()}


def _said(error: Exception) -> str:
    return f"{error}" or type(error).__name__  # a TimeoutError says nothing


def without_secrets(text: str) -> str:
    """The text with everything that looks like a token or a private key blotted out."""
    return _PEM.sub("***", _TOKEN.sub("***", text))

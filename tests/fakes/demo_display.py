"""A display of the demo that remembers what it was shown."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence

from meshca.app.demo.telling import Step


class FakeDisplay:
    """Implements `meshca.app.demo.telling.Display`.

    Attributes:
        notes: what went on in steps.
        steps: those that were done.
        failures: title, detail and logs of those that failed.
        open: how many steps run now.
    """

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.steps: list[Step] = []
        self.failures: list[tuple[str, str, Mapping[str, Sequence[str]]]] = []
        self.open = 0

    @contextlib.contextmanager
    def running(self, title: str) -> Iterator[Callable[[str], None]]:
        """Remember notes."""
        self.open += 1
        try:
            yield self.notes.append
        finally:
            self.open -= 1

    def done(self, step: Step) -> None:
        """Remember the step."""
        self.steps.append(step)

    def failed(self, title: str, detail: str, logs: Mapping[str, Sequence[str]]) -> None:
        """Remember the failure."""
        self.failures.append((title, detail, logs))

"""How the demo is shown: a spinner and colours on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TextIO

from rich.console import Console, Group
from rich.live import Live as RichLive
from rich.spinner import Spinner
from rich.text import Text

from meshca.app.demo.telling import Display, Step


class Lines:
    """One line for each step that is done, its details indented below. For files and pipes."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    @contextlib.contextmanager
    def running(self, title: str) -> Iterator[Callable[[str], None]]:  # noqa: ARG002 - of the protocol
        """Nothing is shown: lines cannot be taken back."""
        yield lambda _text: None

    def done(self, step: Step) -> None:
        """Show the step."""
        self._print(f"ok   {step.title}", *(f"       {line}" for line in step.lines))

    def failed(self, title: str, detail: str, logs: Mapping[str, Sequence[str]]) -> None:
        """Show the step and what the processes concerned said last."""
        self._print(f"FAIL {title}", f"       {detail}")
        for name, lines in logs.items():
            self._print(f"     last lines of the {name}:", *(f"       {line}" for line in lines or ["(none)"]))

    def _print(self, *lines: str) -> None:
        self._out.write("".join(f"{line}\n" for line in lines))
        self._out.flush()


class Live:
    """The step that runs with a spinner and what goes on in it; those done above, with a tick."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextlib.contextmanager
    def running(self, title: str) -> Iterator[Callable[[str], None]]:
        """Show the step as running, and below it what goes on."""
        now = Text("", style="dim", no_wrap=True, overflow="ellipsis")
        shown = Group(Spinner("dots", Text(title, style="bold")), now)

        def note(text: str) -> None:
            now.plain = f"    {text}"

        with RichLive(shown, console=self._console, transient=True):
            yield note

    def done(self, step: Step) -> None:
        """Show the step as done."""
        self._console.print(Text.assemble(("✓ ", "bold green"), (step.title, "bold")))
        self._details(step.lines)

    def failed(self, title: str, detail: str, logs: Mapping[str, Sequence[str]]) -> None:
        """Show the step and what the processes concerned said last."""
        self._console.print(Text.assemble(("✗ ", "bold red"), (title, "bold")))
        self._details([detail])
        for name, lines in logs.items():
            self._console.print(Text(f"  last lines of the {name}:", style="yellow"))
            self._details(lines or ["(none)"])

    def _details(self, lines: Sequence[str]) -> None:
        for line in lines:
            self._console.print(Text(f"    {line}", style="dim"), soft_wrap=True)


def display_for(out: TextIO) -> Display:
    """The display that suits an output."""
    return Live(Console(file=out)) if out.isatty() else Lines(out)

"""The demo's two displays: plain lines, and a terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from meshca.app.demo.telling import Step
from meshca.cli.demo_display import Lines, Live, display_for


def a_step() -> Step:
    """A step that showed something."""
    step = Step(title="web is allowed", note=lambda _text: None)
    step.say("200")
    return step


def test_plain_lines_have_no_colour_and_no_spinner() -> None:
    """What a log of continuous integration shows."""
    out = io.StringIO()
    display = display_for(out)
    with display.running("web is allowed") as note:
        note("soon")
    display.done(a_step())
    assert out.getvalue() == "ok   web is allowed\n       200\n"


def test_a_plain_failure_names_step_detail_and_last_lines() -> None:
    """Everything that is needed to begin the search."""
    out = io.StringIO()
    Lines(out).failed("web is allowed", "503, expected 200", {"CA": ["started", "refused"], "web agent": []})
    assert out.getvalue().splitlines() == [
        "FAIL web is allowed",
        "       503, expected 200",
        "     last lines of the CA:",
        "       started",
        "       refused",
        "     last lines of the web agent:",
        "       (none)",
    ]


@pytest.fixture(name="terminal")
def _terminal() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=100, legacy_windows=False)


def shown(terminal: Console) -> str:
    """What the terminal was sent."""
    assert isinstance(terminal.file, io.StringIO)
    return terminal.file.getvalue()


def test_a_terminal_shows_what_goes_on_and_then_a_tick(terminal: Console) -> None:
    """The note while it runs, the details when it is done."""
    display = Live(terminal)
    with display.running("web is allowed") as note:
        note("almost")
    display.done(a_step())
    text = shown(terminal)
    assert "almost" in text
    assert "✓" in text
    assert "200" in text


def test_a_terminal_shows_a_failure_with_its_logs(terminal: Console) -> None:
    """Brackets in a log are text, not markup."""
    Live(terminal).failed("web is allowed", "503", {"CA": ["[error] refused"], "web": []})
    text = shown(terminal)
    assert "✗" in text
    assert "[error] refused" in text
    assert "(none)" in text

"""Steps are told in order, a failure is named with the logs that explain it, and no secret is shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshca.app.demo.telling import TAIL_LINES, Teller, without_secrets
from meshca.errors import InvariantBroken, Unavailable
from tests.fakes.clock import FakeClock
from tests.fakes.demo_display import FakeDisplay

TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl"
KEY = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49\n-----END PRIVATE KEY-----"


def test_a_step_that_ends_is_shown_with_its_details_and_time() -> None:
    """What was said, the facts and the seconds are kept."""
    display, clock = FakeDisplay(), FakeClock()
    tell = Teller(display, clock)
    with tell.step("it works") as step:
        step.note("soon")
        clock.move(2.5)
        step.say("really", status=200)
    assert display.notes == ["soon"]
    assert display.steps == tell.told == [step]
    assert (step.lines, step.facts, step.seconds) == (["really"], {"status": 200}, 2.5)


@pytest.mark.parametrize(
    ("error", "detail"),
    [
        (InvariantBroken("demo", "it was 500, expected 200"), "it was 500, expected 200"),
        (ConnectionRefusedError("nobody there"), "nobody there"),
        (TimeoutError(), "TimeoutError"),
    ],
    ids=["ours", "network", "wordless"],
)
def test_a_failure_names_the_step(error: Exception, detail: str) -> None:
    """The step, the detail, and only then the end."""
    display = FakeDisplay()
    tell = Teller(display, FakeClock())
    with pytest.raises(Unavailable, match="step `it works` failed") as raised, tell.step("it works"):
        raise error
    assert raised.value.reason == "demo_step"
    assert display.failures == [("it works", detail, {})]
    assert (tell.told, display.open) == ([], 0)


def test_a_failure_shows_the_last_lines_of_the_processes_concerned() -> None:
    """Others are not shown; an empty name means all."""
    display = FakeDisplay()
    tell = Teller(display, FakeClock())
    tell.watch("CA", lambda: "\n".join(f"line {number}" for number in range(20)))
    tell.watch("web Envoy", lambda: "other")
    with pytest.raises(Unavailable), tell.step("one", "CA"):
        raise OSError("gone")
    with pytest.raises(Unavailable), tell.step("all", ""):
        raise OSError("gone")
    assert display.failures[0][2] == {"CA": [f"line {number}" for number in range(20 - TAIL_LINES, 20)]}
    assert display.failures[1][2].keys() == {"CA", "web Envoy"}


def test_an_interruption_is_no_failure() -> None:
    """Ctrl-C ends a step without a word, and the display is closed."""
    display = FakeDisplay()
    with pytest.raises(KeyboardInterrupt), Teller(display, FakeClock()).step("it works"):
        raise KeyboardInterrupt
    assert (display.failures, display.open) == ([], 0)


@pytest.mark.parametrize("secret", [TOKEN, KEY, KEY[:50]], ids=["token", "key", "cut off key"])
def test_secrets_are_blotted_out_of_logs(secret: str) -> None:
    """Whatever a log holds, a key or token in it is not shown."""
    shown = without_secrets(f"before {secret}")
    assert shown == "before ***"


@given(st.text())
def test_other_text_stays(text: str) -> None:
    """Blotting is idempotent, and leaves text without secrets alone."""
    shown = without_secrets(text)
    assert without_secrets(shown) == shown
    if "eyJ" not in text and "PRIVATE KEY" not in text:
        assert shown == text

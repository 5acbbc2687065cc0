"""The second person."""

from __future__ import annotations

import json

import pytest

from meshca.errors import Denied, Refused
from meshca.rotation.report import Forecast, ForecastStep
from tests.cli.root_running import Running
from tests.fakes.root_reports import request, straggler


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Running:
    """One request waits."""
    running = Running(monkeypatch)
    running.roots.waiting = [request(breaks=1)]
    running.roots.foreseen = Forecast(steps=(ForecastStep(says="drop it"),), losers=(straggler(),))
    return running


def test_it_is_shown_before(server: Running) -> None:
    """Who wants what, and why, what all of it does, and who would break as of now."""
    code, out, err = server.run("approve", "0123abcd", "--reason", "looked", typed="y\n")
    assert (code, out.splitlines()[-1], "asked by uid 0" in err) == (0, "done", True)
    assert "WHO WOULD BREAK (1)" in err
    assert ("1. drop it" in err, "more would break" in err) == (True, False)
    assert server.roots.asked == [
        ("foresee", {"request": "0123abcd"}),
        ("approve", {"request": "0123abcd", "reason": "looked", "shown": server.roots.foreseen}),
    ]


def test_that_more_would_break_than_when_it_was_asked_for_is_told(server: Running) -> None:
    """The fleet may be another by now."""
    server.roots.foreseen = Forecast(steps=(), losers=(straggler(),), unnamed=2)
    _, _, err = server.run("approve", "0123abcd", typed="n\n")
    assert "2 more would break than when it was asked for" in err


@pytest.mark.parametrize("typed", ["n\n", ""])
def test_without_a_yes_nothing_is_done(server: Running, typed: str) -> None:
    """Exit code 1."""
    code, _, _ = server.run("approve", "0123abcd", typed=typed)
    assert (code, server.acts()) == (1, [])


def test_scripts_do_not_ask(server: Running) -> None:
    """With --yes."""
    code, out, _ = server.run("approve", "0123abcd", "--yes", "-o", "json")
    assert (code, json.loads(out)["done"]) == (0, True)


def test_what_does_not_wait_cannot_be_approved(server: Running) -> None:
    """Exit code 1, and where to look."""
    code, _, err = server.run("approve", "ffff", "--yes")
    assert (code, "`meshca requests`" in err, server.acts()) == (1, True, [])


@pytest.mark.parametrize(
    ("refusal", "code"),
    [(Denied("same_person", "another must approve it"), 1), (Refused("gate_closed", "closed again"), 3)],
    ids=["same person", "gate"],
)
def test_a_refusal(server: Running, refusal: Denied | Refused, code: int) -> None:
    """As of any act."""
    server.roots.refusal = refusal
    found, _, err = server.run("approve", "0123abcd", "--yes")
    assert (found, refusal.detail in err) == (code, True)

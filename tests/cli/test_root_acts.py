"""Single steps: what is asked for, what must be confirmed, and exit codes."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from meshca.errors import Conflict, Refused
from meshca.rotation.report import Forecast, ForecastStep
from meshca.rpc.root_messages import Answer
from tests.cli.root_running import Running
from tests.fakes.root_reports import NEW, OLD, record, request, straggler

FORCED = ("--force", "--reason", "disk lost")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Running:
    """A rotation is under way, and its gate is closed."""
    return Running(monkeypatch)


@pytest.mark.parametrize(
    ("arguments", "name", "asked"),
    [
        (["prepare", "--reason", "r"], "prepare", {"same_key": False, "reason": "r"}),
        (["prepare", "--same-key"], "prepare", {"same_key": True, "reason": ""}),
        (["activate", "0b0b"], "activate", {"root": NEW, "force": False, "reason": ""}),
        (["taint", "0a0a", "--reason", "r", "--yes"], "taint", {"root": OLD, "window": None, "reason": "r"}),
        (["taint", "0a0a", "--reason", "r", "--yes", "--window", "0s"], "taint",
         {"root": OLD, "window": timedelta(0), "reason": "r"}),
        (["retire", "0a0a", "--reason", "r"], "retire", {"root": OLD, "force": False, "reason": "r"}),
        (["pause", "--reason", "r"], "pause", {"compromised": False, "reason": "r"}),
        (["resume"], "resume", {"compromised": False, "reason": ""}),
        (["abort"], "abort", {"compromised": False, "reason": ""}),
        (["pause", "--compromised", "--reason", "r"], "pause", {"compromised": True, "reason": "r"}),
        (["resume", "--compromised", "--reason", "r"], "resume", {"compromised": True, "reason": "r"}),
        (["abort", "--compromised", "--reason", "r"], "abort", {"compromised": True, "reason": "r"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_what_is_asked_for(server: Running, arguments: list[str], name: str, asked: dict[str, Any]) -> None:
    """As the flags say; done is exit code 0."""
    code, out, _ = server.run("root", *arguments)
    assert (code, bool(out.strip()), server.acts()) == (0, True, [(name, asked)])
    code, out, _ = server.run("root", *arguments, "--output", "json")
    assert (code, json.loads(out)) == (0, {"done": True, "root": None, "waiting": None, "warning": None})


@pytest.mark.parametrize(
    ("how", "said"), [([], "resume`"), (["--compromised", "--reason", "r"], "resume --compromised`")]
)
def test_who_pauses_is_told_how_it_goes_on(server: Running, how: list[str], said: str) -> None:
    """By the command that will not be refused."""
    assert f"`meshca root {said} goes on" in server.run("root", "pause", *how)[1]


def test_a_root_that_was_made_is_named(server: Running) -> None:
    """To be activated later."""
    server.roots.answer = Answer(root=record(id=NEW))
    assert f"root {NEW[:12]} is being distributed" in server.run("root", "prepare")[1]
    assert json.loads(server.run("root", "prepare", "-o", "json")[1])["root"] == NEW


@pytest.mark.parametrize("name", ["activate", "retire"])
class TestForce:
    """What is done although somebody breaks."""

    @pytest.fixture(autouse=True)
    def broken(self, server: Running) -> None:
        """Somebody would break."""
        server.roots.foreseen = Forecast(steps=(ForecastStep(says="done at once"),), losers=(straggler(),))

    def test_who_would_break_is_shown_before(self, server: Running, name: str) -> None:
        """By this act, on this root; and only somebody who is sure goes on."""
        code, out, err = server.run("root", name, "0a0a", *FORCED, typed="y\n")
        assert (code, "shop/web" in err, "shop/web" in out) == (0, True, False)
        assert server.roots.asked == [
            ("foresee", {"act": name, "root": OLD, "reason": "disk lost", "window": None}),
            (name, {"root": OLD, "force": True, "reason": "disk lost"}),
        ]

    @pytest.mark.parametrize("typed", ["n\n", "\n", ""])
    def test_without_a_yes_nothing_is_done(self, server: Running, name: str, typed: str) -> None:
        """No answer is none."""
        code, _, _ = server.run("root", name, "0a0a", *FORCED, typed=typed)
        assert (code, server.acts()) == (1, [])

    def test_scripts_do_not_ask(self, server: Running, name: str) -> None:
        """They are shown it all the same; standard output stays a document."""
        code, out, err = server.run("root", name, "0a0a", *FORCED, "--yes", "-o", "json")
        assert (code, json.loads(out)["done"], "WHO WOULD BREAK" in err) == (0, True, True)

    def test_a_reason_is_needed(self, server: Running, name: str) -> None:
        """Before anything is asked."""
        code, _, err = server.run("root", name, "0a0a", "--force", "--yes")
        assert (code, "--force needs a reason" in err, server.roots.asked) == (2, True, [])


@pytest.mark.parametrize("name", ["pause", "resume", "abort"])
def test_what_stops_the_replacement_of_a_stolen_root_needs_a_reason(server: Running, name: str) -> None:
    """Before anything is asked."""
    code, _, err = server.run("root", name, "--compromised")
    assert (code, "--compromised needs a reason" in err, server.roots.asked) == (2, True, [])


def test_a_taint_needs_a_reason(server: Running) -> None:
    """It is dangerous."""
    code, _, err = server.run("root", "taint", "0a0a")
    assert (code, "tainting needs a reason" in err, server.acts()) == (2, True, [])


def test_a_taint_shows_who_would_break_before(server: Running) -> None:
    """Within its window; only somebody who is sure goes on, and scripts are shown it all the same."""
    server.roots.foreseen = Forecast(steps=(ForecastStep(says="done at once"),), losers=(straggler(),))
    asked = ("root", "taint", "0a0a", "--reason", "r", "--window", "5m")
    code, _, err = server.run(*asked)
    assert (code, "shop/web" in err, server.acts()) == (1, True, [])
    window = timedelta(minutes=5)
    assert server.roots.asked == [("foresee", {"act": "taint", "root": OLD, "reason": "r", "window": window})]
    assert server.run(*asked, typed="y\n")[0] == 0
    code, out, err = server.run(*asked, "--yes", "-o", "json")
    assert (code, json.loads(out)["done"], "WHO WOULD BREAK" in err) == (0, True, True)
    assert server.acts() == [("taint", {"root": OLD, "window": window, "reason": "r"})] * 2


def test_a_window_has_a_unit(server: Running) -> None:
    """Or it is wrong usage."""
    code, _, err = server.run("root", "taint", "0a0a", "--reason", "r", "--window", "5")
    assert (code, "--window" in err, server.acts()) == (2, True, [])


@pytest.mark.parametrize(
    ("refusal", "code"),
    [
        (Refused("gate_closed", "web-1 does not trust it"), 3),
        (Refused("transition", "not possible"), 1),
        (Conflict("generation", "look again"), 1),
    ],
    ids=["gate", "table", "somebody was first"],
)
def test_a_refusal(server: Running, refusal: Refused | Conflict, code: int) -> None:
    """A closed gate has an exit code of its own: it may open."""
    server.roots.refusal = refusal
    found, out, err = server.run("root", "activate", "0b0b")
    assert (found, out, refusal.detail in err) == (code, "", True)
    found, out, _ = server.run("root", "activate", "0b0b", "-o", "json")
    assert (found, json.loads(out)["error"]["reason"]) == (code, refusal.reason)


def test_what_waits_for_a_second_person(server: Running) -> None:
    """Exit code 4, with how to approve it."""
    server.roots.answer = Answer(waiting=request())
    code, out, _ = server.run("root", "retire", "0a0a")
    assert (code, out.splitlines()[0]) == (4, "not done yet: it waits for a second person")
    assert "meshca approve 0123abcd" in out
    code, out, _ = server.run("root", "retire", "0a0a", "-o", "json")
    waiting = json.loads(out)["waiting"]
    assert (code, waiting["id"], waiting["until"], "body" in waiting) == (
        4,
        "0123abcd",
        "2026-01-01T00:15:00Z",
        False,
    )

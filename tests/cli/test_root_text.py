"""How roots look on a terminal."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from meshca.authority.fleet import Word
from meshca.authority.history import Kind
from meshca.authority.lifecycle import State
from meshca.cli import root_text as subject
from meshca.cli.root_certificate import Says
from meshca.rotation.report import Forecast, ForecastStep
from tests.fakes.root_reports import (
    HOUR,
    NEW,
    NOW,
    OLD,
    authority,
    bundle,
    change,
    gate,
    plan,
    record,
    request,
    root_report,
    straggler,
)

LONG = "spiffe://cluster.local/ns/" + "n" * 63 + "/sa/" + "a" * 253
EVIL = "bad\x1b[2J"


def says(**changes: Any) -> Says:
    """The certificate of the old root."""
    usual = Says(subject="CN=meshca root 1,O=cluster.local", not_before=NOW, not_after=NOW + 3650 * 24 * HOUR)
    return replace(usual, **changes)


def test_a_rotation_that_waits_for_one_workload() -> None:
    """All of it."""
    assert subject.status(root_report()) == (
        "bundle 7 (vvvvvvvvvvvv), generation 4, driven by replica-0\n"
        "rotating from 0a0a0a0a0a0a to 0b0b0b0b0b0b, steps are taken as gates open, since\n"
        "  2026-01-01T00:00:00Z by uid 0: yearly\n"
        "\n"
        "AUTHORITY  ID            STATE         ENDS               TRUSTED BY  LEAVES  LAST LEAF ENDS\n"
        "root       0a0a0a0a0a0a  active        2035-12-30T00:00Z  512         512     2026-01-02T00:00Z\n"
        "root       0b0b0b0b0b0b  distributing  2035-12-30T00:00Z  511         0       -\n"
        "\n"
        "trusts new root    [#############################-] 511 of 512\n"
        "left the old root  [------------------------------] 0 of 512\n"
        "\n"
        "512 workloads seen since 2025-12-31T00:00:00Z, the longest silent at 2025-12-31T23:00:00Z; they have\n"
        "  the newest bundle as acknowledged 500 (in force at every Envoy), delivered 11 (sent; that it is\n"
        "  used is not known), not at all 1\n"
        "\n"
        "NEXT\n"
        "sign below the new root; waits until every workload trusts it\n"
        "gate closed, 511 of 512 ready: 1 of 512 does not trust it\n"
        "\n"
        "WHO WOULD BREAK (1)\n"
        f"{'shop/web':42}  {'web-1':32}  connected\n"
        "    does not trust the new root yet; restart its agent\n"
        "    holds leaves below 0a0a0a0a0a0a until 2026-01-01T01:00Z\n"
        "\n"
        "WARNINGS\n"
        "- root 0a0a ends in 30 days; then every leaf below it ends"
    )


def test_no_rotation() -> None:
    """Says so; nothing is left empty."""
    quiet = root_report(plan=None, gate=None, next_step="", warnings=(), driven_by="")
    text = subject.status(quiet)
    assert "no replica takes steps now" in text
    assert text.endswith("NEXT\nnothing: no rotation is under way")
    assert "[" not in text
    assert "\n\n\n" not in text


@pytest.mark.parametrize(
    ("next_step", "said"),
    [("drop it: waits, {}", "gate closed, "), ("paused; after meshca root resume: drop it", "gate closed, ")],
    ids=["said", "not said"],
)
def test_what_a_gate_found_is_said_once(next_step: str, said: str) -> None:
    """A paused step does not say it, so its gate does."""
    why = "seven hold one"
    text = subject.status(root_report(next_step=next_step.format(why), gate=gate(why=why)))
    assert (text.count(why), said in text) == (1, True)


def test_a_store_that_is_out_of_reach() -> None:
    """Nobody knows anything, and nothing is drawn."""
    text = subject.status(root_report(fleet=None))
    assert "every gate is closed" in text
    assert "#" not in text


def test_an_open_gate_has_no_stragglers() -> None:
    """Whoever is not ready does not hold it up."""
    text = subject.status(root_report(gate=gate(open=True, opens_at=NOW, why="enough trust it")))
    assert "gate open, 511 of 512 ready: enough trust it\n" in text
    assert "WHO WOULD BREAK" not in text


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"paused": True}, "paused"),
        ({"automatic": False}, "step by step"),
        ({"compromised": True}, "steps are taken as gates open; the old one is compromised, window 5m"),
        (
            {"compromised": True, "urgent_by": "uid 7\x1b"},
            "; the old one is compromised, as uid 7\\x1b said, window 5m, since 2026-01-01T00:00:00Z by uid 0",
        ),
        ({"reason": ""}, "since 2026-01-01T00:00:00Z by uid 0"),
    ],
    ids=str,
)
def test_a_rotation_in_words(changes: dict[str, object], expected: str) -> None:
    """What it is, and whose."""
    assert expected in subject.rotation(plan(**changes))


@pytest.mark.parametrize(
    ("ready", "of", "expected"),
    [
        (512, 1024, f"[{'#' * 15}{'-' * 15}] 512 of 1024"),
        (1023, 1024, f"[{'#' * 29}-] 1023 of 1024"),
        (1024, 1024, f"[{'#' * 30}] 1024 of 1024"),
        (0, 0, f"[{'#' * 30}] 0 of 0"),
        (0, 3, f"[{'-' * 30}] 0 of 3"),
    ],
)
def test_a_bar(ready: int, of: int, expected: str) -> None:
    """Full only when nobody is missing."""
    assert subject.bar(ready, of) == expected


def test_when_a_gate_opens() -> None:
    """If that is known."""
    assert (
        subject.gate(gate(opens_at=NOW + HOUR), "")
        .replace("\n  ", " ")
        .endswith("trust it; opens at 2026-01-01T01:00:00Z at the latest")
    )


def test_a_straggler_that_is_gone() -> None:
    """With what is known of it, and what its agent says."""
    gone = straggler(
        pod="", connected=False, signers=frozenset(), leaf_ends=None, word=Word.NONE, trouble=EVIL, why=EVIL
    )
    assert subject.stragglers([gone], 0).splitlines() == [
        "WHO WOULD BREAK (1)",
        f"{'shop/web':42}  {'(no pod)':32}  seen 2026-01-01T00:00Z",
        "    bad\\x1b[2J",
        "    it says: bad\\x1b[2J",
    ]


def test_many_stragglers_are_counted() -> None:
    """Those that the server did not name as well."""
    lines = subject.stragglers([straggler()] * 12, 7).splitlines()
    assert (lines[0], lines[-1], len(lines)) == ("WHO WOULD BREAK (19)", "… 9 more", 32)


def test_nobody_would_break() -> None:
    """In words, below what would be done."""
    steps = (ForecastStep(says="now: make a root"), ForecastStep(says=EVIL))
    assert subject.forecast(Forecast(steps=steps)) == (
        "what would be done, at the earliest; nothing was done now:\n"
        "1. now: make a root\n"
        "2. bad\\x1b[2J\n"
        "\n"
        "nobody would break"
    )


def test_somebody_would_break() -> None:
    """By name."""
    assert "shop/web" in subject.forecast(Forecast(steps=(), losers=(straggler(),)))


def test_who_holds_up_a_step_is_named_below_it() -> None:
    """With pod and when it was seen; of a rotation under way it is said that it is."""
    steps = (ForecastStep(says="sign below it", holders=(straggler(connected=False),), unnamed=1),)
    lines = subject.forecast(Forecast(steps=steps, plan=plan())).splitlines()
    assert lines[0].startswith("a rotation is under way: rotating from 0a0a0a0a0a0a to 0b0b0b0b0b0b")
    assert lines[3:7] == [
        "what is left to do, at the earliest; nothing was done now:",
        "1. sign below it",
        "WHO HOLDS UP STEP 1 (2)",
        f"{'shop/web':42}  {'web-1':32}  seen 2026-01-01T00:00Z",
    ]


@pytest.mark.parametrize(
    ("root", "sequences", "entered", "left", "shown"),
    [
        (NEW, [], None, None, "-"),
        (OLD, [(1, OLD)], 1, None, "1-"),
        (OLD, [(1, OLD), (2, NEW)], 1, 2, "1-1"),
        (NEW, [(1, OLD), (2, NEW)], 2, None, "2-"),
        (OLD, [(5, OLD), (6, OLD), (7, NEW)], None, 7, "…-6"),
        (OLD, [(5, OLD)], None, None, "…-"),
    ],
    ids=["never", "from the first", "left", "later", "from one not remembered", "always"],
)
def test_the_bundles_that_a_root_was_in(
    root: str, sequences: list[tuple[int, str]], entered: int | None, left: int | None, shown: str
) -> None:
    """By their numbers, as `export` takes them."""
    found = subject.stay(root, [bundle(sequence=number, roots=(one,)) for number, one in sequences])
    assert (found.entered, found.left, str(found)) == (entered, left, shown)


def test_roots_are_listed() -> None:
    """With what their certificates say, also of one retired long ago."""
    gone = (record(state=State.RETIRED, id="0c" * 32), says(subject="CN=root 0", not_after=NOW))
    assert subject.records([gone, (record(), says())], [bundle(sequence=1, roots=(OLD,))]).splitlines() == [
        "ROOT          STATE    BUNDLES  SINCE              ENDS               SUBJECT",
        "0c0c0c0c0c0c  retired  -        2026-01-01T00:00Z  2026-01-01T00:00Z  CN=root 0",
        "0a0a0a0a0a0a  active   1-       2026-01-01T00:00Z  2035-12-30T00:00Z  CN=meshca ro…luster.local",
    ]


def test_changes_are_listed() -> None:
    """With why, or that nobody said why, and what was found; what comes by itself has no reason but that."""
    made = change(act=None, before=None, after=State.PREPARED, reason="", guard="", by="meshca")
    forced = change(forced=True, by="uid 0, approved by uid 1", reason=EVIL)
    assert subject.changes([forced, made]).splitlines() == [
        "TIME                  ACT         AUTHORITY     STATE         BY",
        "2026-01-01T00:00:00Z  activate    0b0b0b0b0b0b  active        uid 0, approved by uid 1",
        "    bad\\x1b[2J; all 512 trust it; forced",
        "2026-01-01T00:00:00Z  made        0b0b0b0b0b0b  prepared      meshca",
    ]
    assert subject.changes([]) == "(none)"
    assert subject.changes([change(reason="")]).splitlines()[-1] == "    no reason given; all 512 trust it"
    assert subject.changes([change(reason="", by="meshca")]).splitlines()[-1] == "    all 512 trust it"


def test_requests_are_listed() -> None:
    """With how to approve them."""
    assert subject.requests([request(), request(reason="", says=EVIL)]).splitlines() == [
        "0123abcd  trust no more root 0a0a0a0a0a0a0a0a",
        "    asked by uid 0 at 2026-01-01T00:00:00Z: yearly",
        "    until 2026-01-01T00:15:00Z another administrator can: meshca approve 0123abcd",
        "0123abcd  bad\\x1b[2J",
        "    asked by uid 0 at 2026-01-01T00:00:00Z",
        "    until 2026-01-01T00:15:00Z another administrator can: meshca approve 0123abcd",
    ]
    assert subject.requests([]) == "nothing waits for a second person"


def test_a_request_because_of_a_theft_says_so() -> None:
    """An approver sees which of them does not keep."""
    told = subject.requests([request(urgent=True)]).splitlines()
    assert told[1] == "    asked by uid 0 at 2026-01-01T00:00:00Z, urgent, as a key is stolen: yearly"


def test_everything_fits_a_terminal() -> None:
    """However long names are."""
    word = "w " * 300
    worst = straggler(identity=LONG, pod="p" * 253, why=word, trouble=word, signers=frozenset({OLD, NEW}))
    intermediate = record(kind=Kind.INTERMEDIATE, state=State.DISTRIBUTING, id="f" * 64)
    report = root_report(
        authorities=(authority(record=intermediate, trusted_by=10**7, leaves=10**6, subject="s" * 300),),
        plan=plan(reason=word, by=LONG),
        next_step=word,
        gate=gate(why=word, stragglers=(worst,), opens_at=NOW),
        warnings=(word,),
        driven_by="r" * 300,
    )
    texts = [
        subject.status(report),
        subject.records(
            [(intermediate, says(subject="s" * 300))], [bundle(roots=(intermediate.id,), sequence=100)]
        ),
        subject.changes([change(by=LONG, reason=word, guard=word, forced=True)]),
        subject.requests([request(says=word, by=LONG, reason=word)]),
        subject.forecast(
            Forecast(steps=(ForecastStep(says=word, holders=(worst,)),), losers=(worst,), plan=plan(reason=word))
        ),
    ]
    assert max(len(line) for text in texts for line in text.splitlines()) <= 100


def test_as_json() -> None:
    """Every value in one spelling."""
    document = subject.plain(root_report())
    assert json.loads(json.dumps(document)) == document
    assert document["plan"]["window"] == "5m"
    assert document["authorities"][0]["record"]["state"] == "active"
    assert document["gate"]["stragglers"][0]["workload"]["trusts"] == [OLD]
    assert document["gate"]["opens_at"] is None
    assert subject.plain(timedelta(0)) == "0s"
    assert subject.plain(replace(change(), at=NOW))["at"] == "2026-01-01T00:00:00Z"

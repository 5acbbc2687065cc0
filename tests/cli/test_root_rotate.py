"""The whole rotation by one command, and its progress."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest

from meshca.authority.gate import LEFT_BEHIND
from meshca.authority.history import Change
from meshca.authority.lifecycle import Act, State
from meshca.cli import root_rotate as subject
from meshca.cli.output import Format
from meshca.cli.root_text import plain
from meshca.errors import Refused, Unavailable
from meshca.rotation.report import Forecast, ForecastStep, RootReport
from meshca.rpc.root_messages import Answer
from tests.cli.root_running import Running
from tests.fakes.root_reports import (
    NEW,
    NOW,
    OLD,
    WEB,
    authority,
    change,
    gate,
    plan,
    record,
    request,
    root_report,
    straggler,
)

DONE = root_report(
    plan=None,
    gate=None,
    next_step="",
    authorities=(
        authority(record=record(state=State.RETIRED)),
        authority(record=record(id=NEW)),
    ),
)
GIVEN_UP = replace(DONE, authorities=(authority(), authority(record=record(id=NEW, state=State.RETIRED))))
DROPPED = change(act=Act.RETIRE, authority=OLD, guard=f'1 of 2 holds one{LEFT_BEHIND}{WEB} in "web-1"')
GONE = Unavailable("admin_socket", "the server closed the connection")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Running:
    """It rotates to a new root; nobody waits in tests."""
    monkeypatch.setattr(subject, "PAUSE", 0)
    running = Running(monkeypatch)
    running.roots.answer = Answer(root=record(id=NEW, state=State.DISTRIBUTING))
    return running


def test_it_is_begun(server: Running) -> None:
    """And nobody is waited for."""
    code, out, _ = server.run("root", "rotate", "--reason", "yearly")
    assert (code, out) == (0, f"rotating to root {NEW[:12]}; `meshca root status` shows how far\n")
    assert server.roots.asked == [
        ("rotate", {"compromised": False, "window": None, "reason": "yearly", "root": ""})
    ]
    assert json.loads(server.run("root", "rotate", "-o", "json")[1]) == {
        "done": True,
        "root": NEW,
        "waiting": None,
        "warning": None,
    }


def test_a_dry_run_changes_nothing(server: Running) -> None:
    """It tells what would be done, and who would break."""
    server.roots.foreseen = Forecast(steps=(ForecastStep(says="now: make a root"),), losers=(straggler(),))
    code, out, _ = server.run("root", "rotate", "--dry-run", "--compromised", "--window", "0s")
    assert (code, "1. now: make a root" in out, "shop/web" in out) == (0, True, True)
    assert server.roots.asked == [("forecast", {"compromised": True, "window": timedelta(0), "root": ""})]
    document = json.loads(server.run("root", "rotate", "--dry-run", "-o", "json")[1])
    assert document["losers"][0]["workload"]["pod"] == "web-1"


class TestCompromised:
    """Security wins over availability."""

    def test_who_would_break_is_shown_before(self, server: Running) -> None:
        """And somebody must be sure."""
        server.roots.foreseen = Forecast(steps=(), losers=(straggler(),))
        arguments = ("root", "rotate", "--compromised", "--window", "5m", "--reason", "stolen")
        code, _, err = server.run(*arguments, typed="y\n")
        assert (code, "shop/web" in err) == (0, True)
        assert server.acts() == [
            ("rotate", {"compromised": True, "window": timedelta(minutes=5), "reason": "stolen", "root": ""})
        ]

    def test_the_stolen_root_is_named(self, server: Running) -> None:
        """By as much of its id as is unique."""
        arguments = ("root", "rotate", "--compromised", "--root", NEW[:8], "--reason", "stolen", "--yes")
        assert server.run(*arguments)[0] == 0
        assert [arguments["root"] for _, arguments in server.roots.asked] == [NEW, NEW]

    @pytest.mark.parametrize("more", [(), ("--dry-run",)])
    @pytest.mark.parametrize("flag", [("--root", NEW[:8]), ("--window", "5m")])
    def test_what_is_said_of_a_stolen_key_needs_one(
        self, server: Running, flag: tuple[str, str], more: tuple[str, ...]
    ) -> None:
        """Exit code 2, also of a dry run; nothing is asked."""
        code, _, err = server.run("root", "rotate", *flag, *more)
        assert (code, flag[0] in err and "--compromised" in err, server.roots.asked) == (2, True, [])

    def test_without_a_yes_nothing_is_done(self, server: Running) -> None:
        """Exit code 1."""
        code, _, err = server.run("root", "rotate", "--compromised", "--reason", "stolen", typed="n\n")
        assert (code, "nothing was done" in err, server.acts()) == (1, True, [])

    def test_a_reason_is_needed(self, server: Running) -> None:
        """It is kept."""
        code, _, err = server.run("root", "rotate", "--compromised", "--yes")
        assert (code, "--compromised needs a reason" in err, server.acts()) == (2, True, [])

    def ended(self, server: Running, *more: str) -> str:
        """What a compromised rotation ends with that somebody watches only when it is over."""
        server.roots.watched = [[DONE]]
        arguments = ("root", "rotate", "--compromised", "--reason", "stolen", "--yes", "--wait", *more)
        code, out, _ = server.run(*arguments)
        assert code == 0
        return out

    def test_who_lost_trust_is_shown_after(self, server: Running) -> None:
        """As it is kept with the change that dropped the root, for whoever looks, whenever."""
        server.roots.history = [change(), DROPPED]
        out = self.ended(server)
        assert "\n\nWHO LOST TRUST\nTIME " in out
        assert f'    yearly; 1 of 2 holds one; left behind: {WEB} in "web-1"\n' in out
        assert server.roots.asked[-1] == ("changes", {"authority": "", "limit": subject.LOOKED_BACK})

    def test_scripts_get_who_loses_trust_before_and_after(self, server: Running) -> None:
        """In the last document."""
        server.roots.foreseen = Forecast(steps=(), losers=(straggler(), straggler()))
        server.roots.history = [DROPPED]
        end = json.loads(self.ended(server, "-o", "json").splitlines()[-1])
        assert (len(end["foreseen"]), end["lost"]) == (2, [plain(DROPPED)])

    @pytest.mark.parametrize(
        "changes",
        [
            [change(act=Act.RETIRE, authority=OLD, guard="nobody holds one")],
            [replace(DROPPED, act=Act.ACTIVATE)],
            [change(act=None, before=None), DROPPED],
            [change(act=Act.PLAN), DROPPED, change(act=None, before=None)],
            [change(act=Act.RESTORE), DROPPED, change(act=None, before=None)],
        ],
        ids=["ready", "not-dropped", "before-this-one", "before-it-was-planned", "before-it-signed-again"],
    )
    def test_nobody_is_said_to_have_lost_trust_when_nobody_did(
        self, server: Running, changes: list[Change]
    ) -> None:
        """All were ready, nothing was dropped, or it was in an older rotation."""
        server.roots.history = changes
        out = self.ended(server)
        assert ("done: root" in out, "LOST TRUST" in out) == (True, False)


def test_it_waits_for_a_second_person(server: Running) -> None:
    """Exit code 4; there is nothing to watch."""
    server.roots.answer = Answer(waiting=request(act="RotateRoot"))
    assert server.run("root", "rotate", "--wait")[0] == 4


def test_a_refusal(server: Running) -> None:
    """Exit code 3 when a gate refuses."""
    server.roots.refusal = Refused("gate_closed", "too many would break")
    assert server.run("root", "rotate", "--wait")[0] == 3


class TestWaiting:
    """For as long as somebody watches."""

    def run(self, server: Running, *watched: list[RootReport | BaseException]) -> tuple[int, list[str], str]:
        """Exit code, lines without their time, and what is said beside them."""
        server.roots.watched = list(watched)
        code, out, err = server.run("root", "rotate", "--wait")
        lines = [line.partition("  ")[2] if line.startswith("20") else line for line in out.splitlines()]
        return code, lines, err

    def test_each_step_is_a_line(self, server: Running) -> None:
        """Told when it differs."""
        step = replace(root_report(), next_step="sign below it")
        later = replace(step, generation=5)
        ready = replace(step, gate=gate(open=True, ready=512))
        paused = replace(ready, next_step=f"paused; after meshca root resume: {ready.next_step}")
        assert self.run(server, [step, later, ready, paused, DONE]) == (
            0,
            [
                "sign below it [closed, 511 of 512]; held up by shop/web (web-1)",
                "sign below it [open, 512 of 512]",
                "paused; after meshca root resume: sign below it [open, 512 of 512]",
                "done",
                f"done: root {NEW[:12]} signs",
            ],
            "",
        )

    def test_a_rotation_that_is_given_up(self, server: Running) -> None:
        """Exit code 1."""
        code, lines, _ = self.run(server, [GIVEN_UP])
        assert (code, lines[-1]) == (1, "given up: the root before signs")

    def test_another_rotation_is_not_this_one(self, server: Running) -> None:
        """It was over in between."""
        other = replace(DONE, plan=plan(old=NEW, new="0c" * 32))
        assert self.run(server, [other])[0] == 0

    def test_a_server_that_restarts_is_looked_for(self, server: Running) -> None:
        """The rotation is not in its memory alone."""
        code, _, err = self.run(server, [root_report(), GONE], [GONE], [], [DONE])
        assert (code, err.count("the rotation goes on, looking again")) == (0, 2)

    def test_a_server_that_does_not_come_back(self, server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
        """Is not looked for without end; a sign of it counts anew."""
        monkeypatch.setattr(subject, "TRIES", 2)
        code, _, err = self.run(server, [GONE], [root_report(), GONE], [GONE], [GONE])
        assert (code, "the server closed the connection (admin_socket)" in err) == (1, True)

    def test_ctrl_c_stops_watching_only(self, server: Running) -> None:
        """Exit code 130, and what goes on."""
        code, _, err = self.run(server, [root_report(), KeyboardInterrupt()])
        assert (code, "the rotation goes on without you" in err) == (130, True)
        assert [name for name, _ in server.acts()] == ["rotate"]

    def test_as_json(self, server: Running) -> None:
        """A line for each change and one for the end, each a document."""
        server.roots.watched = [[root_report(), DONE]]
        code, out, _ = server.run("root", "rotate", "--wait", "-o", "json")
        first, second, end = [json.loads(one) for one in out.splitlines()]
        assert (code, end["done"], end["root"], end["foreseen"], end["lost"]) == (0, True, NEW, [], [])
        assert (first["progress"], second["progress"]) == (plain(root_report()), end["report"])
        assert end["report"]["authorities"][0]["record"]["id"] == OLD

    def test_an_error_as_json_is_a_line_as_well(self, server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
        """The last one."""
        monkeypatch.setattr(subject, "TRIES", 0)
        server.roots.watched = [[root_report(), GONE]]
        code, out, _ = server.run("root", "rotate", "--wait", "-o", "json")
        assert (code, json.loads(out.splitlines()[-1])["error"]["reason"]) == (1, "admin_socket")

    def test_not_done_in_time(self, server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
        """Exit code 5; the rotation goes on."""

        async def endless() -> AsyncIterator[RootReport]:
            yield root_report()
            await asyncio.Event().wait()

        monkeypatch.setattr(server.roots, "watch", endless)
        code, out, err = server.run("root", "rotate", "--wait", "--timeout", "0s")
        assert (code, "held up by shop/web" in out, "the rotation goes on" in err) == (5, True, True)

    def test_done_in_time(self, server: Running) -> None:
        """As without."""
        server.roots.watched = [[DONE]]
        assert server.run("root", "rotate", "--wait", "--timeout", "1h")[0] == 0

    @pytest.mark.parametrize("arguments", [("--timeout", "5m"), ("--wait", "--timeout", "5")])
    def test_a_wrong_timeout(self, server: Running, arguments: tuple[str, ...]) -> None:
        """Without anything to watch, or without a unit; nothing is begun."""
        code, _, err = server.run("root", "rotate", *arguments)
        assert (code, "--timeout" in err, server.acts()) == (2, True, [])

    def test_on_a_terminal_it_is_one_live_picture(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """What is waited for, and who holds it up, come first: a low terminal shows no more."""
        monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
        with contextlib.ExitStack() as stack:
            told = stack.enter_context(subject._telling(Format.TEXT))
            told(root_report())
        out = capsys.readouterr().out
        assert out.index("NEXT") < out.index("shop/web") < out.index("trusts new root")


def test_a_line_is_whole() -> None:
    """However long a step is, and whoever holds it up; what others wrote is made printable."""
    many = gate(stragglers=(straggler(identity="bad\x1b", pod=""), *[straggler()] * 10), unnamed=2)
    told = subject.line(root_report(next_step="w " * 100, gate=many), NOW)
    assert (told.count("w "), "held up by bad\\x1b (no pod), shop/web (web-1)," in told) == (100, True)
    assert told.endswith("shop/web (web-1) and 3 more")

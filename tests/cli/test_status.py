"""Tests of `meshca status`."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest
import typer
from typer.testing import CliRunner

from meshca.cli import status
from meshca.cli.status import command
from meshca.rpc.status_report import ClusterReport, PolicyReport, TokenReviewReport, UpstreamReport, WorkerReport
from tests.fakes.admin_client import FakeAdminClient
from tests.fakes.reports import NOW, agent, report, resource

app = typer.Typer()
app.command()(command)

LONG = "spiffe://cluster.local/ns/" + "n" * 63 + "/sa/" + "a" * 253


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> FakeAdminClient:
    """A running server that is well."""
    fake = FakeAdminClient()
    monkeypatch.setattr("meshca.app.admin_client.connect", fake.connect)
    return fake


def run(*arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error."""
    result = CliRunner().invoke(app, arguments)
    return result.exit_code, result.stdout, result.stderr


def test_a_server_that_is_well(server: FakeAdminClient) -> None:
    """All of it, and nothing under problems."""
    assert run() == (
        0,
        (
            "meshca 0.1.0, trust domain cluster.local, up since 2026-01-01T00:00:00Z\n"
            "roots rrrrrrrrrrrr, 2 policies pppppppppppp\n"
            "upstream self_signed; can do without it for 15 days\n"
            "\n"
            "CERTIFICATE  ENDS                  SHA256            SUBJECT\n"
            "root         2035-12-30T00:00:00Z  cdcdcdcdcdcdcdcd  CN=meshca root 1,O=cluster.local\n"
            "\n"
            "WORKER  PID  STATE  RESTARTS\n"
            "w0      101  ready  0\n"
            "\n"
            "AGENT     NODE   SEEN       ROOTS     POLICIES\n"
            "shop/web  web-1  connected  by envoy  by envoy\n"
        ),
        "",
    )


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "by envoy"),
        ({"grade": "agent"}, "by agent"),
        ({"grade": ""}, "waiting"),
        ({"grade": "refused"}, "refused"),
        ({"adopted_version": "old"}, "behind"),
        ({"adopted_version": "old", "sent_version": "old"}, "behind"),
        ({"kind": "other"}, "-"),
    ],
    ids=str,
)
def test_how_far_an_agent_is_with_the_roots(
    server: FakeAdminClient, changes: dict[str, str], expected: str
) -> None:
    """Adopted means: the version that the server has in force, on somebody's word."""
    server.report = report(agents=(agent(resources=(resource(**changes),)),))
    _, out, _ = run()
    assert out.splitlines()[-1].split("  ")[3].strip() == expected


@pytest.mark.parametrize(
    ("mode", "cache", "expected"),
    [
        ("review", 10, "mode review: a review holds 10s"),
        ("local", 2, "mode local: a review holds 2s"),
        ("review", 0, "mode review: every use is reviewed"),
        ("pods", 0, "mode pods: nothing is asked, only the pod is looked at"),
    ],
)
def test_how_tokens_are_proven(server: FakeAdminClient, mode: str, cache: int, expected: str) -> None:
    """Mode, and how long a revoked token may still be believed."""
    review = TokenReviewReport(cluster="home", mode=mode, cache=timedelta(seconds=cache))
    server.report = report(token_review=review)
    assert run()[1].splitlines()[3] == f"tokens are proven by cluster home, {expected}"
    assert json.loads(run("-o", "json")[1])["token_review"] == {
        "cluster": "home",
        "mode": mode,
        "cache": f"{cache}s",
    }


def test_clusters(server: FakeAdminClient) -> None:
    """How each is, and what is wrong with which, where there are any."""
    assert "CLUSTER" not in run()[1]
    server.report = report(
        clusters=(
            ClusterReport(name="home", secret="", state="good", problem=""),
            ClusterReport(name="West", secret="s", state="refused", problem="not a label"),
        )
    )
    out = run()[1]
    assert ["home", "good", "-"] in [line.split() for line in out.splitlines()]
    assert ["West", "refused", "s"] in [line.split() for line in out.splitlines()]
    assert "- cluster West refused: not a label" in out


def test_policies_are_compared_with_what_was_sent(server: FakeAdminClient) -> None:
    """Every workload has policies of its own."""
    own = resource(kind="policies", sent_version="own2", adopted_version="own1")
    server.report = report(agents=(agent(resources=(own,)),))
    _, out, _ = run()
    assert out.splitlines()[-1].split()[-1] == "behind"


def test_an_agent_that_is_gone(server: FakeAdminClient) -> None:
    """Shows when it was last seen."""
    server.report = report(agents=(agent(connected=False, last_seen=NOW + timedelta(hours=1)),))
    assert "2026-01-01T01:00:00Z" in run()[1]


def test_no_agent(server: FakeAdminClient) -> None:
    """In words."""
    server.report = report(agents=())
    assert run()[1].endswith("no agent has connected yet\n")


def test_problems_are_listed(server: FakeAdminClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that is not in force or not well, each with its place; foreign text made harmless."""
    monkeypatch.setattr(status, "SHOWN", 20)
    server.report = report(
        config_error="c",
        admission_error="a",
        authority_error="u",
        store_error="s",
        ending_warning="e",
        upstream=UpstreamReport(kind="vault", autonomy=timedelta(0), fault="role", leaf_error="no role"),
        policies=PolicyReport(version="", count=0, error="p"),
        workers=(
            WorkerReport(name="w0", pid=1, ready=False, detail="store: the disk is full", restarts=3),
            WorkerReport(name="w1", pid=2, ready=False, detail="", restarts=0),
        ),
        agents=(agent(resources=(resource(error="bad\x1b[2J", grade="refused", pending_pids=(17, 42)),)),),
    )
    _, out, _ = run()
    assert "0 policies (none)" in out
    assert out.partition("PROBLEMS\n")[2].splitlines() == [
        "- the configuration on disk is not in force: c",
        "- the admission rules on disk are not in force: a",
        "- the policies on disk are not in force: p",
        "- no new signing certificate could be had: u",
        "- certificates that were asked for were not signed: no role",
        "- what signs comes to its end: e",
        "- the store cannot be used: s",
        "- worker w0: store: the disk is full",
        "- worker w1: not ready",
        "- shop/web on web-1: roots rrrrrrrrrrrr: bad\\x1b[2J; and 1 more of this pod",
    ]


def test_an_envoy_that_lags_is_a_problem(server: FakeAdminClient) -> None:
    """With its process."""
    server.report = report(agents=(agent(resources=(resource(pending_pids=(17, 42)),)),))
    expected = "- shop/web on web-1: roots rrrrrrrrrrrr: not in force yet at Envoy with pid 17, 42\n"
    assert run()[1].endswith(expected)


def test_no_pod_hides_the_problems_of_another(server: FakeAdminClient) -> None:
    """However many streams it has, it is one line; the whole is cut."""
    refuses = (resource(error="disk full"),)
    many = [agent(resources=refuses)] * 1060
    server.report = report(agents=(*many, agent(pod="web-2", node="web-2", resources=refuses), agent(pod="web-3")))
    table, _, said = run()[1].partition("\n\nPROBLEMS\n")
    assert [line.split("  ")[0] for line in table.splitlines()[-3:]] == ["shop/web x1060", "shop/web", "shop/web"]
    assert said == (
        "- shop/web on web-1: roots rrrrrrrrrrrr: disk full; and 1059 more of this pod\n"
        "- shop/web on web-2: roots rrrrrrrrrrrr: disk full\n"
    )
    server.report = report(agents=tuple(agent(pod=f"web-{n}", resources=refuses) for n in range(7)))
    assert run()[1].endswith("\n… 2 more\n")


def test_names_without_a_pod_hide_no_problem_of_others(server: FakeAdminClient) -> None:
    """They may be made up: an identity has one line, however many names it calls itself."""
    refuses = (resource(error="disk full"),)
    named = [agent(pod="", node=f"made up {number}", resources=refuses) for number in range(1000)]
    server.report = report(agents=(*named, agent(pod="web-2", node="web-2", resources=refuses)))
    assert run()[1].partition("\n\nPROBLEMS\n")[2] == (
        "- shop/web on made up 0: roots rrrrrrrrrrrr: disk full; and 999 more of this identity without a pod\n"
        "- shop/web on web-2: roots rrrrrrrrrrrr: disk full\n"
    )


def test_nothing_is_wider_than_a_hundred_columns(server: FakeAdminClient) -> None:
    """However long names and errors are."""
    usual = report()
    server.report = report(
        certificates=tuple(replace(one, kind="intermediate", subject="s" * 300) for one in usual.certificates),
        workers=(WorkerReport(name="w" * 99, pid=2**22, ready=False, detail="d " * 200, restarts=10**6),),
        agents=(
            agent(
                spiffe_id=LONG,
                node="n" * 253,
                connected=False,
                resources=(resource(error="e " * 300), resource(kind="policies")),
            ),
        ),
    )
    assert max(map(len, run()[1].splitlines())) <= 100


def test_the_report_as_json(server: FakeAdminClient) -> None:
    """Whole, with times in UTC."""
    code, out, _ = run("-o", "json")
    document = json.loads(out)
    assert (code, document["started_at"]) == (0, "2026-01-01T00:00:00Z")
    assert document["agents"][0]["resources"][1]["grade"] == "envoy"
    assert document["certificates"][0]["not_after"] == "2035-12-30T00:00:00Z"


def test_no_server() -> None:
    """Exit 1 with what to do, no traceback."""
    code, out, err = run("--socket", "/nonexistent/admin.sock")
    assert (code, out) == (1, "")
    assert "start `meshca serve`" in err


def test_many_problems_are_counted() -> None:
    """A mesh of agents with the same problem must not push the rest off the screen; JSON has all."""
    workers = tuple(replace(report().workers[0], name=f"w{number}", ready=False) for number in range(8))
    problems = status.text(replace(report(), workers=workers)).partition("PROBLEMS\n")[2].splitlines()
    assert (len(problems), problems[-1]) == (6, "… 3 more")


def test_one_policy() -> None:
    """In words."""
    assert ", 1 policy " in status.text(replace(report(), policies=PolicyReport(version="v", count=1)))


def test_agents_that_were_left_out() -> None:
    """They are counted below the others."""
    assert "\n… 7 more, which do not fit" in status.text(report(agents_left_out=7))
    assert "do not fit" not in status.text(report())

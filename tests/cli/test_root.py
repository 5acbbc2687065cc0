"""Questions about roots."""

from __future__ import annotations

import json

import pytest

from meshca.authority.lifecycle import State
from meshca.cli import root_text
from tests.cli.root_running import Running
from tests.fakes.pki import make_ca
from tests.fakes.root_reports import NEW, OLD, PEM, bundle, change, record, root_report


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Running:
    """A rotation is under way."""
    return Running(monkeypatch)


def test_status(server: Running) -> None:
    """As text and as JSON."""
    assert server.run("root", "status") == (0, f"{root_text.status(root_report())}\n", "")
    assert json.loads(server.run("root", "status", "-o", "json")[1]) == root_text.plain(root_report())


def test_list(server: Running) -> None:
    """As text and as JSON."""
    code, out, _ = server.run("root", "list")
    assert (code, [line.split()[0] for line in out.splitlines()]) == (0, ["ROOT", OLD[:12], NEW[:12]])
    server.roots.bundled = [bundle(sequence=1, roots=(OLD,)), bundle(sequence=2, roots=(NEW,))]
    document = json.loads(server.run("root", "list", "-o", "json")[1])
    assert [(one["id"], one["entered"], one["left"]) for one in document] == [(OLD, 1, 2), (NEW, 2, None)]


def test_show(server: Running) -> None:
    """Record, certificate and changes of the one that is meant."""
    code, out, _ = server.run("root", "show", "0A:0A")
    assert code == 0
    lines = out.splitlines()
    assert lines[0] == f"id              {OLD}"
    assert "subject         CN=meshca root 1,O=cluster.local" in lines
    assert "parent          -" in lines
    assert out.endswith(f"\n\n{PEM}")
    assert server.roots.asked == [("changes", {"authority": OLD, "limit": 0})]


def test_show_as_json(server: Running) -> None:
    """In one document."""
    document = json.loads(server.run("root", "show", OLD, "-o", "json")[1])
    assert (document["id"], document["trusted_by"], document["pem"]) == (OLD, 512, PEM)
    assert document["changes"] == root_text.plain([change()])


def test_show_one_that_was_retired_long_ago(server: Running) -> None:
    """With what is kept of it: its certificate says who it was, and until when; nobody counts who trusts it."""
    gone = record(id="0c" * 32, state=State.RETIRED, pem=make_ca("long ago").pem)
    server.roots.kept.insert(0, gone)
    document = json.loads(server.run("root", "show", "0c0c", "-o", "json")[1])
    assert (document["state"], document["subject"], document["pem"]) == ("retired", "CN=long ago", gone.pem)
    assert (document["not_after"], "trusted_by" in document) == ("2035-12-30T00:00:00Z", False)
    listed = server.run("root", "list")[1].splitlines()
    assert listed[1].endswith("2035-12-30T00:00Z  CN=long ago")
    assert json.loads(server.run("root", "list", "-o", "json")[1])[0]["subject"] == "CN=long ago"


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("0a", 2, "expected 4 or more hexadecimal digits"),
        ("root", 2, "expected 4 or more hexadecimal digits"),
        ("0a0a0", 0, ""),
        ("ffff", 1, "no id begins with ffff"),
    ],
)
def test_which_one_is_meant(server: Running, text: str, code: int, said: str) -> None:
    """By as much of its id as is unique."""
    found, _, err = server.run("root", "show", text)
    assert (found, said in err) == (code, True)


def test_ids_that_begin_alike(server: Running) -> None:
    """Nothing is chosen."""
    server.roots.kept.append(record(id=f"{OLD[:-2]}ff"))
    code, _, err = server.run("root", "show", "0a0a")
    assert (code, "2 ids begin with 0a0a; give more of it" in err) == (2, True)


def test_export(server: Running) -> None:
    """The roots alone, to be written to a file."""
    assert server.run("root", "export") == (0, "PEM 1\nPEM 2\n", "")
    assert server.run("root", "export", "--format", "spiffe", "--sequence", "3") == (0, '{"keys": []}\n', "")
    assert server.roots.asked == [("export", {"sequence": None}), ("export", {"sequence": 3})]


def test_export_as_json(server: Running) -> None:
    """With number and time."""
    document = json.loads(server.run("root", "export", "-o", "json")[1])
    assert (document["bundle"]["sequence"], document["pem"]) == (7, "PEM 1\nPEM 2\n")


def test_history(server: Running) -> None:
    """As text and as JSON."""
    code, out, _ = server.run("root", "history", "--limit", "5")
    assert (code, out) == (0, f"{root_text.changes([change()])}\n")
    assert server.roots.asked == [("changes", {"authority": "", "limit": 5})]
    assert json.loads(server.run("root", "history", "-o", "json")[1]) == root_text.plain([change()])


@pytest.mark.parametrize(
    "name",
    ["status", "list", "show", "export", "history", "prepare", "activate", "taint", "retire", "rotate", "pause",
     "resume", "abort"],
)  # fmt: skip
def test_every_command_says_what_it_does(server: Running, name: str) -> None:
    """In its help."""
    code, out, _ = server.run("root", name, "--help")
    assert (code, "--output" in out, "--socket" in out, "--config" in out) == (0, True, True, True)


def test_no_server() -> None:
    """Exit 1 with what to do."""
    from typer.testing import CliRunner

    from meshca.cli.main import build

    result = CliRunner().invoke(build("root"), ["root", "status", "--socket", "/nonexistent/admin.sock"])
    assert (result.exit_code, "start `meshca serve`" in result.stderr) == (1, True)

"""Tests of `meshca ledger`."""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import UTC, datetime, timedelta

import pytest
from typer.testing import CliRunner

from meshca.cli.ledger import app
from meshca.ledger.query import Query
from meshca.ledger.record import Issuance, Result
from tests.fakes.admin_client import FakeAdminClient
from tests.fakes.admin_server import admin_server
from tests.fakes.clock import FakeClock
from tests.fakes.ledger import FakeLedger
from tests.fakes.records import NOW, failed, intent, issued

WIDE = intent(
    serial="f" * 40,
    spiffe_id=f"spiffe://cluster.local/ns/{'n' * 63}/sa/{'a' * 253}",
    rule="\x1b[2J",
    labels={},
    intended_at=NOW + timedelta(microseconds=5),
)
USUAL = intent(serial="ab12", pod_name="", labels={"version": "v1", "app": "web"})


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> FakeAdminClient:
    """A running server with three records."""
    fake = FakeAdminClient()
    fake.records = [
        Issuance(intent=WIDE),
        Issuance(intent=USUAL, outcome=issued(USUAL)),
        Issuance(intent=intent(serial="c1"), outcome=failed(intent(serial="c1"))),
    ]
    monkeypatch.setattr("meshca.app.admin_client.connect", fake.connect)
    return fake


def run(*arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error."""
    result = CliRunner().invoke(app, arguments)
    return result.exit_code, result.stdout, result.stderr


def test_records_are_lines_of_at_most_a_hundred_columns(server: FakeAdminClient) -> None:
    """Time, result, serial, workload; the newest first."""
    code, out, _ = run("list")
    lines = out.splitlines()
    assert (code, max(map(len, lines))) == (0, 100)
    assert [line.split()[:3] for line in lines] == [
        ["TIME", "RESULT", "SERIAL"],
        ["2026-01-01T00:00:00Z", "unknown", "f" * 40],
        ["2026-01-01T00:00:00Z", "issued", "ab12"],
        ["2026-01-01T00:00:00Z", "failed", "c1"],
    ]
    assert lines[2].endswith("shop/web")


def test_no_record(server: FakeAdminClient) -> None:
    """Is said, and is no failure."""
    server.records = []
    assert run("list") == (0, "(none)\n", "")


def test_a_list_that_is_cut_says_so(server: FakeAdminClient) -> None:
    """And how to see more."""
    _, out, _ = run("list", "--limit", "2")
    assert out.endswith("the newest 2; there may be more: see --limit, --until\n")


def test_records_as_json(server: FakeAdminClient) -> None:
    """Everything, for scripts."""
    code, out, _ = run("list", "-o", "json")
    documents = json.loads(out)
    assert (code, [one["serial"] for one in documents]) == (0, ["f" * 40, "ab12", "c1"])
    assert documents[0]["finished_at"] is None
    assert (documents[1]["result"], documents[1]["labels"]) == ("issued", {"app": "web", "version": "v1"})
    assert (documents[2]["result"], documents[2]["reason"]) == ("failed", "no_signer")


def test_every_filter_reaches_the_server(server: FakeAdminClient) -> None:
    """As one query."""
    code, *_ = run(
        "list",
        *("--spiffe-id", "spiffe://cluster.local/ns/shop/sa/web"),
        *("--namespace", "shop"),
        *("--pod", "web-1"),
        *("--node", "node-1"),
        *("--issuer", "dev"),
        *("--result", "failed"),
        *("--since", "2026-01-01"),
        *("--until", "2026-02-01T00:00:00Z"),
        *("--limit", "7"),
    )
    assert code == 0
    assert server.asked == [
        Query(
            spiffe_id="spiffe://cluster.local/ns/shop/sa/web",
            namespace="shop",
            pod="web-1",
            node="node-1",
            issuer="dev",
            result=Result.FAILED,
            since=datetime(2026, 1, 1, tzinfo=UTC),
            until=datetime(2026, 2, 1, tzinfo=UTC),
            limit=7,
        )
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--limit", "0"), "error: --limit:\n  - limit must be 1 to 10000"),
        (("--since", "then"), "error: --since:\n  - expected a time"),
        (("--until", "then"), "error: --until:\n  - expected a time"),
        (("--since", "1h", "--until", "2h"), "error: --since, --until:\n  - since must be before until"),
        (("--result", "good"), "--result"),
    ],
    ids=["limit", "since", "until", "backwards", "result"],
)
def test_a_bad_flag_is_named(server: FakeAdminClient, arguments: tuple[str, ...], words: str) -> None:
    """Exit 2, and the server is not asked."""
    code, out, err = run("list", *arguments)
    assert (code, out, server.asked) == (2, "", [])
    assert words in err


def test_one_record_shows_everything(server: FakeAdminClient) -> None:
    """A line for each field, `-` where there is nothing, control characters spelled out."""
    code, out, _ = run("show", "f" * 40)
    shown = {line[:16].strip(): line[16:].strip() for line in out.splitlines()}
    assert code == 0
    assert shown.keys() >= {"serial", "spiffe id", "token id", "csr sha256", "signer", "not after"}
    assert shown["result"] == "unknown"
    assert shown["finished at"] == "-"
    assert shown["intended at"] == "2026-01-01T00:00:00.000005Z"
    assert (shown["rule"], shown["labels"]) == ("\\x1b[2J", "-")


def test_labels_are_shown_as_pairs(server: FakeAdminClient) -> None:
    """In order."""
    _, out, _ = run("show", "ab12")
    assert "app=web, version=v1" in out


def test_one_record_as_json(server: FakeAdminClient) -> None:
    """One object."""
    code, out, _ = run("show", "ab12", "-o", "json")
    assert (code, json.loads(out)["serial"]) == (0, "ab12")


@pytest.mark.parametrize("spelling", ["AB:12", "00ab12", "Ab12"])
def test_other_spellings_of_a_serial_are_understood(server: FakeAdminClient, spelling: str) -> None:
    """People copy serials from openssl."""
    assert run("show", spelling)[0] == 0


def test_an_unknown_serial(server: FakeAdminClient) -> None:
    """Exit 1, one line."""
    assert run("show", "ee") == (1, "", "error: the ledger has no such record (serial)\n")


def test_no_server() -> None:
    """Exit 1 with what to do, no traceback."""
    code, out, err = run("list", "--socket", "/nonexistent/admin.sock")
    assert (code, out) == (1, "")
    assert "there is no socket at /nonexistent/admin.sock; start `meshca serve`" in err


async def test_a_running_server_is_asked_through_its_socket() -> None:
    """The whole way: command, socket, gate, service, ledger."""
    ledger = FakeLedger(FakeClock(NOW))
    await ledger.intend(USUAL)
    async with admin_server(ledger) as path:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "meshca", "ledger", "list", "-o", "json"),
            env={"MESHCA_ADMIN_SOCKET": str(path)},
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await process.communicate()
    assert [one["serial"] for one in json.loads(out)] == ["ab12"]

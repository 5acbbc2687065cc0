"""What somebody asked for is denied by another."""

from __future__ import annotations

import json

import pytest

from meshca.errors import NotFound
from tests.cli.root_running import Running
from tests.fakes.root_reports import request


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Running:
    """One request waits."""
    running = Running(monkeypatch)
    running.roots.waiting = [request()]
    return running


def test_it_is_denied(server: Running) -> None:
    """It is shown what that was; as JSON without the message that would be sent."""
    code, out, _ = server.run("deny", "0123abcd", "--reason", "not now")
    assert (code, out.splitlines()) == (0, ["denied", f"    {request().says}"])
    document = json.loads(server.run("deny", "0123abcd", "--reason", "not now", "-o", "json")[1])
    assert (document["id"], "body" in document) == ("0123abcd", False)
    assert server.acts() == [("deny", {"request": "0123abcd", "reason": "not now"})] * 2


def test_a_reason_is_needed(server: Running) -> None:
    """Whoever asked wants to know."""
    code, _, err = server.run("deny", "0123abcd")
    assert (code, "denying needs a reason" in err, server.acts()) == (2, True, [])


def test_a_refusal(server: Running) -> None:
    """Exit code 1."""
    server.roots.refusal = NotFound("request", "no such request waits")
    assert server.run("deny", "0123abcd", "--reason", "not now")[0] == 1

"""What one has asked for oneself is taken back."""

from __future__ import annotations

import json

import pytest

from meshca.errors import Denied
from tests.cli.root_running import Running
from tests.fakes.root_reports import request


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Running:
    """One request waits."""
    running = Running(monkeypatch)
    running.roots.waiting = [request()]
    return running


def test_it_is_taken_back(server: Running) -> None:
    """It is shown what that was; as JSON without the message that would be sent."""
    code, out, _ = server.run("withdraw", "0123abcd")
    assert (code, out.splitlines()) == (0, ["taken back", f"    {request().says}"])
    document = json.loads(server.run("withdraw", "0123abcd", "-o", "json")[1])
    assert (document["id"], "body" in document) == ("0123abcd", False)
    assert server.acts() == [("withdraw", {"request": "0123abcd"})] * 2


def test_a_refusal(server: Running) -> None:
    """Exit code 1."""
    server.roots.refusal = Denied("other_person", "uid 7 has asked for it")
    code, _, err = server.run("withdraw", "0123abcd")
    assert (code, "uid 7 has asked for it" in err) == (1, True)

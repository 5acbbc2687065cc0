"""What waits for a second person."""

from __future__ import annotations

import json

import pytest

from meshca.cli import root_text
from tests.cli.root_running import Running
from tests.fakes.root_reports import request


def test_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """As text and as JSON, without the message that would be sent."""
    server = Running(monkeypatch)
    assert server.run("requests") == (0, "nothing waits for a second person\n", "")
    server.roots.waiting = [request(urgent=True)]
    assert server.run("requests") == (0, f"{root_text.requests([request(urgent=True)])}\n", "")
    (document,) = json.loads(server.run("requests", "-o", "json")[1])
    assert (document["id"], document["act"], "body" in document) == ("0123abcd", "RetireRoot", False)
    assert document["urgent"] is True

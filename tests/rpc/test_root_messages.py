"""What is kept of roots comes out of a message as it went in."""

from __future__ import annotations

from typing import Any

import pytest

from meshca.authority.history import Change, Kind
from meshca.authority.lifecycle import State
from meshca.rpc import root_messages as subject
from meshca.rpc.roles import Sight
from meshca.rpc.root_messages import Answer, Exported
from tests.fakes.root_reports import NOW, OLD, bundle, change, plan, record, request


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("authority", record()),
        (
            "authority",
            record(kind=Kind.INTERMEDIATE, parent=OLD, trusted_since=None, replica="r0", state=State.RETIRED),
        ),
        ("plan", plan()),
        ("plan", plan(automatic=False, paused=True, compromised=True, tainted_at=NOW, urgent_by="uid 7")),
        ("request", request()),
        ("request", request(breaks=3, urgent=True)),
        ("answer", Answer()),
        ("answer", Answer(root=record())),
        ("answer", Answer(root=record(), warning="2 would break by now")),
        ("answer", Answer(waiting=request())),
        ("exported", Exported(bundle=bundle(), pem="PEM\n", spiffe_json="{}")),
    ],
)
def test_there_and_back(name: str, value: Any) -> None:
    """Nothing is lost."""
    there, back = getattr(subject, f"{name}_message"), getattr(subject, f"{name}_of")
    assert back(there(value)) == value


@pytest.mark.parametrize("one", [change(), change(act=None, before=None, forced=True)], ids=["act", "made"])
def test_a_change_there_and_back(one: Change) -> None:
    """Nothing is lost to who sees all, or where nobody was left behind."""
    for sight in (Sight(None), Sight(frozenset({"shop"}))):
        assert subject.change_of(subject.change_message(one, sight)) == one


def test_the_message_that_waits_is_not_shown() -> None:
    """Its words are; nobody needs to send it."""
    assert subject.request_of(subject.request_message(request(body=b"secret"))) == request()

"""How adoption records become agents."""

from __future__ import annotations

from datetime import timedelta

import pytest

from meshca.authority.adoption import Kind
from meshca.identity.spiffe_id import SpiffeId
from meshca.rpc.status_report import agents_of
from tests.contract.test_adoption_store import adoption
from tests.fakes.records import NOW

LATER = NOW + timedelta(seconds=5)


def test_nobody() -> None:
    """No record, no agent."""
    assert agents_of([]) == ()


def test_kinds_of_one_agent_are_together() -> None:
    """Last seen is the latest of them, connected while any stream is open."""
    (found,) = agents_of(
        [
            adoption(seen_at=LATER, connected=False),
            adoption(kind=Kind.POLICIES),
        ]
    )
    assert [one.kind for one in found.resources] == ["policies", "roots"]
    assert (found.last_seen, found.connected, found.pod) == (LATER, True, "web-1")


def test_streams_of_one_name_are_shown_each() -> None:
    """Each may stand elsewhere; what one says of roots and policies stays together."""
    found = agents_of(
        adoption(stream=stream, kind=kind, adopted_version=f"{kind}-{stream}") for stream in "ba" for kind in Kind
    )
    assert [[resource.adopted_version for resource in one.resources] for one in found] == [
        ["policies-a", "roots-a"],
        ["policies-b", "roots-b"],
    ]


@pytest.mark.parametrize(
    "other", [{"pod": "web-2"}, {"pod_uid": "u"}, {"instance": "b"}], ids=lambda other: next(iter(other))
)
def test_agents_that_call_themselves_the_same_are_shown_each(other: dict[str, str]) -> None:
    """Of several pods, clusters, or of one pod."""
    assert len(agents_of([adoption(), adoption(stream="2", **other)])) == 2


def test_an_agent_without_open_stream_is_not_connected() -> None:
    """On any kind."""
    (found,) = agents_of([adoption(connected=False), adoption(kind=Kind.POLICIES, connected=False)])
    assert not found.connected


def test_agents_are_told_apart_and_ordered() -> None:
    """By identity, then by node."""
    payments = SpiffeId.parse("spiffe://cluster.local/ns/shop/sa/payments")
    found = agents_of([adoption(node_id="b"), adoption(node_id="a"), adoption(agent=payments, node_id="c")])
    assert [(one.spiffe_id.rpartition("/")[2], one.node) for one in found] == [
        ("payments", "c"),
        ("web", "a"),
        ("web", "b"),
    ]


def test_a_resource_says_what_the_record_says() -> None:
    """Field by field."""
    (found,) = agents_of([adoption(error="bad")])
    (one,) = found.resources
    assert (one.kind, one.sent_version, one.adopted_version, one.grade, one.pending_pids, one.error) == (
        "roots",
        "v2",
        "v1",
        "envoy",
        (17, 4711),
        "bad",
    )

"""Tests of meshca.admission.model."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshca.admission.model import SEEN, Effect, Match, Pattern, Rule, Terms
from meshca.identity.caller import ProvenBy
from meshca.identity.spiffe_id import SpiffeId
from tests.fakes.callers import POD, caller

WEB = SpiffeId.parse("spiffe://cluster.local/ns/shop/sa/web")
PLAIN = st.text(alphabet="abc-./", min_size=1, max_size=8)


@pytest.mark.parametrize(
    ("pattern", "value", "matches"),
    [
        ("web", "web", True),
        ("web", "web2", False),
        ("web", "Web", False),
        ("web", "", False),
        ("web-*", "web-1", True),
        ("web-*", "web-", True),
        ("web-*", "web", False),
        ("web-*", "xweb-1", False),
        ("*-web", "a-web", True),
        ("*-web", "-web", True),
        ("*-web", "a-web-b", False),
        ("*", "anything", True),
        ("w.b", "web", False),
    ],
    ids=lambda value: str(value) or "empty",
)
def test_patterns(pattern: str, value: str, *, matches: bool) -> None:
    """Exact, prefix, suffix and any; a dot is a dot."""
    assert Pattern(pattern).matches(value) is matches


@given(PLAIN, PLAIN)
def test_pattern_laws(text: str, value: str) -> None:
    """Without a star a pattern is equality, with one it is a prefix or a suffix."""
    assert Pattern(text).matches(value) == (text == value)
    assert Pattern(text + "*").matches(value) == value.startswith(text)
    assert Pattern("*" + text).matches(value) == value.endswith(text)
    assert Pattern("*").matches(value)


def test_what_a_key_looks_at() -> None:
    """Each key sees one fact of the caller or of its wish."""
    seen = {key: look(caller(serial="7a", proven_by=ProvenBy.CLIENT_CERT), WEB) for key, look in SEEN.items()}
    assert seen == {
        "issuers": "home",
        "namespaces": "shop",
        "service_accounts": "web",
        "proven_by": "client_cert",
        "pods": POD.name,
        "pod_uids": POD.uid,
        "serials": "7a",
        "token_ids": "a3b1",
        "identities": str(WEB),
    }


def test_what_is_not_there_is_not_seen() -> None:
    """A caller without pod, certificate and token id has nothing that a pattern could match."""
    bare = caller(pod=None, token_id="")
    missing = [key for key, look in SEEN.items() if look(bare, WEB) is None]
    assert missing == ["pods", "pod_uids", "serials", "token_ids"]


def test_a_rule_without_terms_refuses() -> None:
    """The effect follows from whether there is something to grant."""
    terms = Terms(identities=None, max_lifetime=timedelta(hours=1), key_types=frozenset())
    assert Rule(name="a", match=Match(), terms=None).effect is Effect.REFUSE
    assert Rule(name="a", match=Match(), terms=terms).effect is Effect.GRANT

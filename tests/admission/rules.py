"""Rules of a few lines, for tests of what they decide."""

from __future__ import annotations

from datetime import timedelta

import pytest

from meshca.admission.decide import decide
from meshca.admission.model import Match, Pattern, Rule, RuleSet, Terms
from meshca.errors import Denied
from meshca.identity.caller import Caller
from meshca.identity.key_type import KeyType
from meshca.identity.spiffe_id import SpiffeId, TrustDomain

TD = TrustDomain("cluster.local")
WEB = SpiffeId(TD, "/ns/shop/sa/web")
OWN = Terms(identities=None, max_lifetime=timedelta(hours=1), key_types=frozenset(KeyType))


def rule_set(*rules: Rule) -> RuleSet:
    """A rule set of our trust domain."""
    return RuleSet(trust_domain=TD, rules=rules, version="")


def grant(name: str = "grant", terms: Terms = OWN, /, **match: str) -> Rule:
    """A granting rule with at most one pattern for a key."""
    return Rule(name=name, match=matching(**match), terms=terms)


def refuse(name: str = "refuse", /, **match: str) -> Rule:
    """A refusing rule with at most one pattern for a key."""
    return Rule(name=name, match=matching(**match), terms=None)


def matching(**match: str) -> Match:
    """One pattern for each key that is named."""
    return Match(patterns=tuple((key, (Pattern(text),)) for key, text in match.items()))


def denial(rules: RuleSet, who: Caller, wanted: SpiffeId) -> Denied:
    """The error that a decision raises."""
    with pytest.raises(Denied) as caught:
        decide(rules, who, wanted)
    return caught.value

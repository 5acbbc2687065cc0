"""Admission rules as frozen values, and the grant that a decision gives.

A rule matches when every key of its match does; a key matches when one of its patterns does; a key that is
left out matches everything. What a key looks at is the table `SEEN`; a caller that has nothing there (no pod,
no certificate) never matches a pattern, not even `*`.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from meshca.identity.caller import Caller
from meshca.identity.key_type import KeyType
from meshca.identity.spiffe_id import SpiffeId, TrustDomain


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What a caller may be issued.

    Attributes:
        identity: the one identity that may be in the certificate.
        max_lifetime: the longest life of the certificate; the profile may make it shorter.
        key_types: types of key that may be certified.
        rule: name of the rule that granted it.
    """

    identity: SpiffeId
    max_lifetime: timedelta
    key_types: frozenset[KeyType]
    rule: str


class Effect(enum.StrEnum):
    """What a rule does with a caller that it matches."""

    GRANT = "grant"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Pattern:
    """Text to compare a value with: exact, `prefix*`, `*suffix`, or `*` for any value. No other stars."""

    text: str

    def matches(self, value: str) -> bool:
        """Whether a value is what the pattern says, letter by letter."""
        if self.text.endswith("*"):
            return value.startswith(self.text[:-1])
        if self.text.startswith("*"):
            return value.endswith(self.text[1:])
        return value == self.text

    def __str__(self) -> str:
        return self.text


# key of a match -> what its patterns are compared with; None when the caller has no such thing
SEEN: Final[Mapping[str, Callable[[Caller, SpiffeId], str | None]]] = {
    "issuers": lambda caller, _: caller.issuer,
    "namespaces": lambda caller, _: caller.account.namespace,
    "service_accounts": lambda caller, _: caller.account.name,
    "proven_by": lambda caller, _: caller.proven_by.value,
    "pods": lambda caller, _: caller.pod.name if caller.pod else None,
    "pod_uids": lambda caller, _: caller.pod.uid if caller.pod else None,
    "serials": lambda caller, _: caller.serial or None,
    "token_ids": lambda caller, _: caller.token_id or None,
    "identities": lambda _, wanted: str(wanted),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Which callers and wishes a rule is about.

    Attributes:
        patterns: key of `SEEN` and its patterns, only keys that the file gives.
        pod_bound: whether the proof must be bound to a pod (True) or must not (False); None when either will do.
    """

    patterns: tuple[tuple[str, tuple[Pattern, ...]], ...] = ()
    pod_bound: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a granting rule gives.

    Attributes:
        identities: the identities that may be asked for; None for the caller's own.
        max_lifetime: the longest life of a certificate.
        key_types: types of key that may be certified.
    """

    identities: frozenset[SpiffeId] | None
    max_lifetime: timedelta
    key_types: frozenset[KeyType]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule of a file.

    Attributes:
        name: unique in its file; in logs and in the ledger.
        match: which callers and wishes it is about.
        terms: what it grants; None for a rule that refuses.
    """

    name: str
    match: Match
    terms: Terms | None

    @property
    def effect(self) -> Effect:
        """Whether the rule grants or refuses."""
        return Effect.REFUSE if self.terms is None else Effect.GRANT


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleSet:
    """All rules in force.

    Attributes:
        trust_domain: the only one in which anything is granted.
        rules: in the order of the file.
        version: hash of the text that they were read from.
    """

    trust_domain: TrustDomain
    rules: tuple[Rule, ...]
    version: str

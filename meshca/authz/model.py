"""Authorization policies as values: what `parse` makes and `decide` and `compile` read.

Which identity may call which service; never who may be issued what (that is `admission`). The meaning follows
Istio's AuthorizationPolicy; docs/differences.md lists where it is stricter.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from meshca.authz import path
from meshca.authz.pattern import Pattern
from meshca.errors import BadRequest
from meshca.identity.caller import NO_LABELS
from meshca.identity.spiffe_id import SpiffeId, TrustDomain

ROOT_NAMESPACE = "istio-system"  # Istio's meshConfig.rootNamespace


class Action(enum.StrEnum):
    """What a policy does with a request that one of its rules matches."""

    ALLOW = "ALLOW"
    DENY = "DENY"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Who calls: every field given must match, one value of it is enough. An empty field is not given.

    Attributes:
        principals: SPIFFE IDs without `spiffe://`, trust domain included.
        namespaces: the namespace in `/ns/<namespace>/sa/<service account>`.
    """

    principals: tuple[Pattern, ...] = ()
    namespaces: tuple[Pattern, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """What is called: every field given must match, one value of it is enough. An empty field is not given."""

    methods: tuple[Pattern, ...] = ()
    paths: tuple[Pattern, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One source and one operation must match; without sources (operations) every one does."""

    sources: tuple[Source, ...] = ()
    operations: tuple[Operation, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """One AuthorizationPolicy.

    Attributes:
        namespace: where it holds; in the root namespace it holds everywhere.
        name: unique in its namespace.
        action: what a match means.
        selector: labels that a workload must have for the policy to hold.
        rules: a match of any is a match of the policy; ALLOW without rules allows nothing.
    """

    namespace: str
    name: str
    action: Action = Action.ALLOW
    selector: Mapping[str, str] = field(default_factory=lambda: NO_LABELS)
    rules: tuple[Rule, ...] = ()

    def rule_name(self, index: int) -> str:
        """The name of a rule in verdicts and in Envoy's log, spelled as Istio spells it."""
        return f"ns[{self.namespace}]-policy[{self.name}]-rule[{index}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySet:
    """Every policy of the mesh, in one order however the files came."""

    policies: tuple[Policy, ...] = ()
    root_namespace: str = ROOT_NAMESPACE

    def __post_init__(self) -> None:
        in_order = sorted(self.policies, key=lambda policy: (policy.namespace, policy.name))
        object.__setattr__(self, "policies", tuple(in_order))


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """The workload that is called.

    Attributes:
        namespace: its own.
        trust_domain: its own.
        labels: from proven data only (the pod, or a signed claim), never what the workload says of itself.
    """

    namespace: str
    trust_domain: TrustDomain
    labels: Mapping[str, str] = field(default_factory=lambda: NO_LABELS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request as Envoy's policy filter sees it, after normalisation.

    Attributes:
        principal: the peer's proven identity; None for a peer without a certificate.
        method: the HTTP method, case-sensitive.
        path: the normalised path; a query may follow and is not looked at.

    Raises:
        BadRequest: reason `path`, when Envoy would never show its filters this spelling.
    """

    principal: SpiffeId | None
    method: str
    path: str

    def __post_init__(self) -> None:
        if fault := path.fault_in_request(self.path):
            raise BadRequest("path", fault)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether a request may pass.

    Attributes:
        allowed: the answer.
        rule: what decided: `ns[…]-policy[…]-rule[…]`, or one of the names in `decide`.
    """

    allowed: bool
    rule: str

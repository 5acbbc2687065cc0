"""Who lives in the mesh, what each trusts, and whose signature it shows: measured, never estimated.

Pure: made of what subscribers acknowledged, of the leaves that have not ended, and of the bundles that were given
out. A workload is a proven identity in a pod; who has no pod is told apart by its leaf.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime


class Word(enum.StrEnum):
    """On whose word a workload trusts what it trusts, the best first."""

    ACKNOWLEDGED = "acknowledged"
    """Its agent and every Envoy of it have the bundle in force, and no secret stands refused."""
    DELIVERED = "delivered"
    """The bundle came with an answer to its request (pilot-agent, ztunnel); that it is used is not known."""
    NONE = "none"
    """It was given nothing with this root in it yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One workload that was seen.

    Attributes:
        identity: its SPIFFE ID.
        pod: its pod's name, or the name that its agent calls itself; empty when neither is known.
        node: the node of its pod, empty when unknown.
        word: on whose word it trusts `trusts`.
        trusts: ids of the roots that it trusts.
        given_at: when it was given them; None when that is not known.
        signers: ids of the roots below which its leaves in use are; more than one while that is in doubt.
        leaf_ends: when the last of those leaves ends; None when it holds none.
        seen_at: when it was last heard or issued a leaf.
        connected: whether its agent's stream is open.
        trouble: why it holds up what it was sent, shortened and written by the agent, so not to be trusted; empty
            when it does not.
    """

    identity: str
    pod: str
    node: str
    word: Word
    trusts: frozenset[str]
    given_at: datetime | None
    signers: frozenset[str]
    leaf_ends: datetime | None
    seen_at: datetime
    connected: bool
    trouble: str = ""

"""What the parent and a worker say to each other of leaves that somebody else signs: messages of `app.control`.

The login is the parent's alone, and what was asked for the worker knows: so the parent asks, the worker judges.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class AskLeaf:
    """Worker to parent: have a leaf signed by whoever signs in our place, then answer `GaveLeaf`.

    Attributes:
        id: of the question.
        csr, identity, issuer: as in `authority.outside.LeafWish`.
        not_after: ISO 8601 with its offset.
    """

    id: int
    csr: str = field(repr=False)
    identity: str
    not_after: str
    issuer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DropLeaf:
    """Worker to parent: nobody waits for the answer to this `AskLeaf` any more."""

    id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedLeaf:
    """Worker to parent: what came of a leaf that was given, or why none could be asked for.

    Attributes:
        identity: whose it is.
        reason, detail: of `Unavailable`, why it was not given on; empty when it was.
    """

    identity: str
    reason: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GaveLeaf:
    """Parent to worker: what came of an `AskLeaf`.

    Attributes:
        id: of the question.
        leaf: PEM, unverified; empty when there is none.
        reason, detail: of `Unavailable`, why there is none.
    """

    id: int
    leaf: str = field(default="", repr=False)
    reason: str = ""
    detail: str = ""

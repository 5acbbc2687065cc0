"""Which roots and policies each agent has adopted, and on whose word. Measured, never estimated.

An acknowledgement alone is not adoption: the grade says who vouches for it. Values and a port; `store` keeps
them for all workers.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from meshca.identity.spiffe_id import SpiffeId

# Streams of one identity and pod that are kept: whoever speaks for it may call itself by any number of names.
# Larger deployments without pods are measured by those heard last.
MAX_AGENTS: Final = 1024


class Kind(enum.StrEnum):
    """What is adopted."""

    ROOTS = "roots"
    POLICIES = "policies"


class Grade(enum.StrEnum):
    """Who vouches for the adopted version."""

    NONE = ""
    """Nothing has been answered yet."""
    ENVOY = "envoy"
    """Every connected Envoy acknowledged it and none of its secrets stands refused."""
    AGENT = "agent"
    """The agent, with no Envoy connected."""
    REFUSED = "refused"
    """The agent or an Envoy refused what was sent; `adopted_version` is what it still holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adoption:
    """What one agent holds of one kind, as it said on one stream.

    Attributes:
        agent: the agent's proven identity.
        node_id: the agent's own name in xDS (its pod's name).
        pod: the pod that its certificate is bound to, empty when unbound.
        kind: roots or policies.
        sent_version: the last version sent to it.
        adopted_version: the last version that it says is in force; empty before the first.
        grade: who vouches for it.
        pending_pids: Envoys that did not answer in time, or that hold up what was sent.
        error: why what was sent was refused or is held up, shortened; else empty. Written by the agent: not to be
            trusted.
        seen_at: when the agent last said something.
        connected: whether its stream is open.
        worker: the instance of the worker that holds the stream.
        stream: the stream's name, unique within the worker's instance.
        leaf: serial of the certificate that is in force at every one of its Envoys, or at itself while none is
            connected; empty until that is said. The agent's own word, about its own certificates only.
        pod_uid: of that pod, which tells pods of one name apart; empty when unbound.
        instance: the agent's own word of which agent of its pod it is, the same over its restarts; empty when it
            does not say, as an Envoy without an agent.
    """

    agent: SpiffeId
    node_id: str
    pod: str = ""
    kind: Kind
    sent_version: str = ""
    adopted_version: str = ""
    grade: Grade = Grade.NONE
    pending_pids: tuple[int, ...] = ()
    error: str = ""
    seen_at: datetime
    connected: bool = True
    worker: str
    stream: str
    leaf: str = ""
    pod_uid: str = ""
    instance: str = ""

    @property
    def speaker(self) -> tuple[str, ...]:
        """Who says it: what an agent that comes back is known by, on whichever stream."""
        return str(self.agent), self.node_id, self.pod, self.pod_uid, self.instance

    @property
    def row(self) -> tuple[str, ...]:
        """Where it is kept: two streams of one name are two rows, for nobody knows which of them breaks."""
        return str(self.agent), self.node_id, self.kind.value, self.worker, self.stream


def standing(every: Iterable[Adoption]) -> list[Adoption]:
    """What counts, in the same order: all of streams that are open; of a speaker that has none, what it said last.

    An end is noticed late, or is the end of a whole replica. So one that came back is there twice for a while: as
    long as the stream that it left seems open, both count.
    """
    rows = list(every)
    best: dict[tuple[str, ...], Adoption] = {}
    for one in rows:
        known = best.setdefault((*one.speaker, one.kind.value), one)
        if (one.connected, one.seen_at) > (known.connected, known.seen_at):
            best[*one.speaker, one.kind.value] = one
    return [one for one in rows if one.connected or one is best[*one.speaker, one.kind.value]]


class AdoptionStore(Protocol):
    """The latest `Adoption` of each stream and kind, over all workers."""

    def record(self, adoption: Adoption) -> None:
        """Keep this as the latest; written soon, together with others. Never blocks and never fails.

        It takes the place of what the same speaker said on streams that have ended, never of what it said on one
        that is open. Of an identity, pod and kind `MAX_AGENTS` are kept; more push out who is not connected, then
        who was heard longest ago.
        """
        ...

    def disconnected(self, worker: str, stream: str) -> None:
        """A stream has ended: what it recorded last is kept, as not connected.

        An agent that has connected again meanwhile, on another stream, stays connected and speaks there.
        """
        ...

    async def list(self) -> Sequence[Adoption]:
        """What is `standing`, ordered by agent, node id and kind.

        Raises:
            Unavailable: reason `store`, when it cannot be read now.
        """
        ...

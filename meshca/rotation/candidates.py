"""Which roots there are that could follow the one that signs, and why none of them can.

A root that was given up or retired is never among them: nothing is taken up twice.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager

from meshca.authority.history import Kind, Lifecycle, Record
from meshca.authority.lifecycle import State
from meshca.authority.material import certificate_id, same_key, to_pem
from meshca.authority.straggling import short
from meshca.authority.upstream import Line, Upstream
from meshca.errors import Refused


async def candidates(upstream: Upstream, old: Record, *, again: bool = False) -> Mapping[str, Line]:
    """What an upstream has that may sign after a root, by id; with the key of that root only if asked for.

    Raises:
        ConfigError, Unavailable: as `Upstream.lines`.
    """
    return {
        certificate_id(one.root): one
        for one in await upstream.lines()
        if one.signs and one.wanted and same_key(to_pem(one.root), old.pem) is again
    }


def on_its_way(kept: Lifecycle, signs: Collection[str]) -> list[Record]:
    """Those that are prepared or distributed already, oldest first."""
    return [one for one in kept.of(Kind.ROOT, State.PREPARED, State.DISTRIBUTING) if one.id in signs]


@contextmanager
def telling_why(kept: Lifecycle, signs: Collection[str]) -> Iterator[None]:
    """Have a refusal to make a root name the one that is there and is not taken up again.

    Raises:
        Refused: as what is done meanwhile.
    """
    try:
        yield
    except Refused as refusal:
        over = [one for one in kept.of(Kind.ROOT, State.RETIRED) if one.id in signs]
        if not over:
            raise
        problem = f"root {short(over[-1].id)} is there, but was given up or retired, and none is taken up twice"
        todo = "bring another, with a new key; meshca root history tells who did that"
        raise Refused(refusal.reason, f"{problem}: {todo}. {refusal.detail}") from refusal

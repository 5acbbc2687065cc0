"""Which agent of its pod this is: a name that no other has, and that is the same after a restart.

A pod may have several agents, all called like the host, and what one of them holds must never count as what
another holds. Nothing is proven by it.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from pathlib import Path
from typing import Final

from meshca.agent.state import State

RECORD: Final = "instance"
_ID: Final = re.compile(r"[0-9a-f]{32}")


def instance(state: State | None, socket: Path) -> str:
    """32 hexadecimal digits.

    Agents that were given one folder for what they keep are told apart by their sockets.

    Args:
        state: what is kept; without it every start is another instance.
        socket: where it serves.
    """
    kept = (state.load(RECORD) if state else None) or {}
    chosen = kept.get("id", "")
    if not _ID.fullmatch(chosen):
        chosen = secrets.token_hex(16)
        if state is not None:
            state.save(RECORD, {"id": chosen})
    return hashlib.sha256(f"{chosen} {socket.absolute()}".encode()).hexdigest()[:32]

"""Whether a new root of the upstream's may become known beside those that a mesh has.

Pure. Whoever can show us a root must not be able to add one to a mesh that lives, unless an operator named it.
"""

from __future__ import annotations

from datetime import datetime

from meshca.authority.history import Kind, Lifecycle, Record
from meshca.authority.lifecycle import State
from meshca.authority.material import certificate_id, to_pem
from meshca.authority.upstream import Line
from meshca.errors import ConfigError
from meshca.rotation.judge import fits


def may_join(kept: Lifecycle, line: Line, now: datetime, *, is_over: bool) -> None:
    """See that a new root could be given out beside those that are; whether it signs is not looked at.

    Args:
        kept: everything that is kept.
        line: of the new root.
        now: the present instant.
        is_over: whether it has ended, and signs nothing.

    Raises:
        ConfigError: nobody has named it, nobody needs it any more, or the bundle would be too large with it.
    """
    id_ = certificate_id(line.root)
    if line.first_use and kept.of(Kind.ROOT):
        problem = f"{id_}: this mesh has roots already, and first_use is for the first only"
        raise ConfigError("upstream.roots", [f"{problem}; pin this one if it is yours"])
    if is_over:
        ended_at = line.root.not_valid_after_utc.isoformat()
        raise ConfigError(
            "the new root", [f"{id_[:16]}: ended at {ended_at}, so nobody needs to trust it; take it out"]
        )
    made = Record(id=id_, kind=Kind.ROOT, state=State.PREPARED, pem=to_pem(line.root), since=now)
    room = fits(kept, made)
    if not room.open:
        raise ConfigError("the new root", [f"{id_[:16]}: {room.why}; take it out, or others that end"])

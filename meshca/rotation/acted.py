"""What an act on a root changes, one row for each act that somebody can ask for or that comes by itself.

Pure. Whether it is safe was judged before; what is only part of another act is never done alone.
"""

from __future__ import annotations

from datetime import timedelta

from meshca.authority import planning
from meshca.authority.drafting import Cause, Planned
from meshca.authority.history import Lifecycle
from meshca.authority.lifecycle import Act
from meshca.discovery.resources import content_hash
from meshca.errors import InvariantBroken
from meshca.rotation.steps import Due


def planned(kept: Lifecycle, found: Due, cause: Cause, window: timedelta) -> Planned:
    """What an act changes.

    Raises:
        Refused: reason `transition`, or what else the act does not allow.
        InvariantBroken: reason `act`, for one that is only part of another.
    """
    root = found.record.id
    match found.act:
        case Act.DISTRIBUTE:
            return planning.distribute(kept, root, cause, version)
        case Act.ACTIVATE:
            return planning.activate(kept, root, cause)
        case Act.TAINT:
            return planning.taint(kept, root, cause, window)
        case Act.RETIRE:
            return planning.retire(kept, root, cause, version)
        case Act.ABORT:
            return planning.give_up(kept, root, cause, version)
        case other:
            raise InvariantBroken("act", f"{other.value} is part of another act")


def course(kept: Lifecycle, act: Act, cause: Cause) -> Planned:
    """What it changes to pause, resume or abort the rotation that is under way.

    Raises:
        Refused: reasons `no_rotation` and `too_late`.
        InvariantBroken: reason `act`, for any other.
    """
    match act:
        case Act.PAUSE:
            return planning.pause(kept, cause)
        case Act.RESUME:
            return planning.resume(kept, cause)
        case Act.ABORT:
            return planning.abort(kept, cause, version)
        case other:
            raise InvariantBroken("act", f"{other.value} is done to a root, not to a rotation")


def version(bundle: str) -> str:
    """The version of a bundle's text, as subscribers acknowledge it."""
    return content_hash(bundle.encode())

"""How rotation stands, told by the driver to readiness, metrics and status; plain values."""

from __future__ import annotations

from dataclasses import dataclass

from meshca.authority.history import EMPTY, Lifecycle
from meshca.authority.slot import Slot
from meshca.errors import MeshcaError


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How rotation stands, for `/readyz`, metrics and `meshca status`.

    Attributes:
        slot: what signs, as it was published last; None before the first, and while nothing may sign.
        serving: what signs for ourselves, below the root that was trusted longest; published with `slot`.
        published: how many standings were put in force.
        failures: how many turns failed or had a problem to tell, ever.
        failing: how many of them in a row, for the same reason.
        error: why the last turn failed, or what it told; None when all was well.
        kept: what the last turn that went through found or made.
        held: why the next step is not taken, in words; empty while none waits.
    """

    slot: Slot | None = None
    serving: Slot | None = None
    published: int = 0
    failures: int = 0
    failing: int = 0
    error: MeshcaError | None = None
    kept: Lifecycle = EMPTY
    held: str = ""

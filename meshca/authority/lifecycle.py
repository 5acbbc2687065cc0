"""How a root or an intermediate comes and goes: a table of states, acts and what each act waits for.

Pure. `rotation` asks it and persists what it says before anything is done by it. A root that is trusted is in the
bundle that every workload gets; one that is active signs. No act skips a state: a root signs only after it was
distributed, and is dropped only after it has stopped to sign.

    prepared ──► distributing ──► active ──► retiring ──► retired
        │             │  ▲          │  ▲        │  │          ▲
        └─── abort ───┼──┼──────────┼──┼────────┼──┼──────────┤
                      │  └ step back┘  └ restore┘  │          │
                      └────────────────────────────┴► tainted ┘
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from meshca.errors import Refused


class State(enum.StrEnum):
    """Where an authority stands."""

    PREPARED = "prepared"
    """Made and proven by a trial leaf; nobody trusts it yet."""
    DISTRIBUTING = "distributing"
    """In the bundle, so that workloads learn to trust it; signs nothing."""
    ACTIVE = "active"
    """Signs. Exactly one root, and one intermediate below it, is active."""
    RETIRING = "retiring"
    """Signs no more, is still trusted: leaves below it live."""
    TAINTED = "tainted"
    """As retiring, but its key is not ours alone: every leaf below it is replaced within a window."""
    RETIRED = "retired"
    """Trusted no more; its key is deleted."""


class Act(enum.StrEnum):
    """What can be done to an authority."""

    DISTRIBUTE = "distribute"
    ACTIVATE = "activate"
    SUPERSEDE = "supersede"
    """Another was activated in its place; part of that act."""
    STEP_BACK = "step_back"
    """The active one signs no more because its activation is aborted; part of `abort`."""
    RESTORE = "restore"
    """The one before signs again because the activation of another is aborted; part of `abort`."""
    TAINT = "taint"
    RETIRE = "retire"
    ABORT = "abort"
    """Given up before it ever signed."""
    PLAN = "plan"
    """A rotation to it was begun, or goes on otherwise; its state stays."""
    PAUSE = "pause"
    """The rotation to it takes no step by itself; its state stays."""
    RESUME = "resume"
    """The rotation to it goes on by itself; its state stays."""
    ASK = "ask"
    """An act on it waits for a second person; its state stays, as with all that becomes of a request."""
    WITHDRAW = "withdraw"
    """Whoever asked for an act on it took that back."""
    DENY = "deny"
    """Somebody else would not have an act on it done."""
    LAPSE = "lapse"
    """Nobody approved an act on it in its time."""


class Guard(enum.Enum):
    """What must hold before an act; `authority.gate` judges the two that depend on the fleet."""

    NONE = "nothing"
    FITS = "the bundle with it fits into an SDS message and a ConfigMap"
    ADOPTED = "the workloads that live trust it"
    UNUSED = "no workload that lives holds a leaf below it"
    OVER = "no workload holds a leaf below it, or the window in which they are replaced is over"
    NEVER_SIGNED = "no leaf below it was ever issued"


@dataclass(frozen=True, slots=True)
class Step:
    """What an act leads to, and what it waits for."""

    after: State
    guard: Guard


TABLE: Final[Mapping[tuple[State, Act], Step]] = MappingProxyType({
    (State.PREPARED, Act.DISTRIBUTE): Step(State.DISTRIBUTING, Guard.FITS),
    (State.PREPARED, Act.ABORT): Step(State.RETIRED, Guard.NONE),
    (State.DISTRIBUTING, Act.ACTIVATE): Step(State.ACTIVE, Guard.ADOPTED),
    (State.DISTRIBUTING, Act.ABORT): Step(State.RETIRED, Guard.NEVER_SIGNED),
    (State.DISTRIBUTING, Act.RETIRE): Step(State.RETIRED, Guard.UNUSED),
    # One that stepped back has signed: when its key is stolen then, its leaves must be replaced like any others.
    (State.DISTRIBUTING, Act.TAINT): Step(State.TAINTED, Guard.NONE),
    (State.ACTIVE, Act.SUPERSEDE): Step(State.RETIRING, Guard.NONE),
    (State.ACTIVE, Act.STEP_BACK): Step(State.DISTRIBUTING, Guard.NONE),
    (State.RETIRING, Act.RESTORE): Step(State.ACTIVE, Guard.NONE),
    (State.RETIRING, Act.TAINT): Step(State.TAINTED, Guard.NONE),
    (State.RETIRING, Act.RETIRE): Step(State.RETIRED, Guard.UNUSED),
    (State.TAINTED, Act.RETIRE): Step(State.RETIRED, Guard.OVER),
})  # fmt: skip

_COMMANDS: Final[Mapping[Act, str]] = MappingProxyType(
    {
        Act.DISTRIBUTE: "rotate",
        Act.ACTIVATE: "activate",
        Act.TAINT: "taint",
        Act.RETIRE: "retire",
        Act.ABORT: "retire",
    }
)
"""What an administrator types for an act."""

PARTS: Final = frozenset({Act.SUPERSEDE, Act.STEP_BACK, Act.RESTORE})
"""Acts that nobody asks for: they come with the act on another authority."""

TRUSTED: Final = frozenset({State.DISTRIBUTING, State.ACTIVE, State.RETIRING, State.TAINTED})
"""States whose roots are in the bundle."""


def step(state: State, act: Act) -> Step:
    """What an act leads to from a state.

    Raises:
        Refused: reason `transition`, when the act does not exist there; says what can be done.
    """
    found = TABLE.get((state, act))
    if found is None:
        raise Refused(
            "transition", f"{act.value} is not possible for one that is {state.value}; {_possible(state, act)}"
        )
    return found


def _possible(state: State, act: Act) -> str:
    """What an administrator can do with one in this state, who wanted something else."""
    if state is State.ACTIVE and act is Act.TAINT:
        return "it signs: replace it by meshca root rotate --compromised"
    if state is State.ACTIVE:
        return "activate another in its place first, or do all of it by meshca root rotate"
    commands = dict.fromkeys(_COMMANDS[act] for before, act in TABLE if before is state and act not in PARTS)
    return f"what can be done: meshca root {', '.join(commands)}" if commands else "it is gone for good"

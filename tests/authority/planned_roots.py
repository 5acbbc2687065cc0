"""Roots to plan for, a rotation between two of them, and the cause of whatever is planned."""

from __future__ import annotations

from dataclasses import replace

from meshca.authority import planning
from meshca.authority.drafting import Cause, Planned
from meshca.authority.history import Kind, Lifecycle, Plan
from meshca.authority.lifecycle import State
from meshca.authority.material import certificate_id
from meshca.authority.upstream import Line
from tests.fakes.pki import NOW, make_ca
from tests.fakes.roots import HOUR, MINUTE, NEW, OLD, root, rotating

CAUSE = Cause(by="anna", reason="audit", at=NOW)
CAS = [make_ca(f"root {n}") for n in range(3)]
IDS = [certificate_id(ca.certificate) for ca in CAS]
LINES = [Line(root=ca.certificate, signs=True) for ca in CAS]
PLAN = Plan(old=OLD, new=NEW, automatic=True, window=5 * MINUTE, started_at=NOW - HOUR, by="anna", reason="audit")
BARE = replace(rotating(), records=(root(OLD), root(NEW, State.DISTRIBUTING)), plan=PLAN)
SIGNED = replace(rotating(State.RETIRING, State.ACTIVE), plan=PLAN)


def version(text: str) -> str:
    """As long as the text."""
    return str(len(text))


def states(life: Lifecycle) -> list[State]:
    """Of the roots, oldest first."""
    return [one.state for one in life.of(Kind.ROOT)]


def adopt(life: Lifecycle, *lines: Line) -> Planned:
    """Take up these lines."""
    return planning.adopt_lines(life, lines, CAUSE, version)


def abort(life: Lifecycle) -> Planned:
    """Give up what is under way."""
    return planning.abort(life, CAUSE, version)

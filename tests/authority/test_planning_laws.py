"""Whatever is asked of the roots, in whatever order: the state stays whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meshca.authority import planning
from meshca.authority.drafting import Planned
from meshca.authority.history import EMPTY, Kind, Lifecycle
from meshca.authority.intermediates import note_intermediate
from meshca.authority.lifecycle import State
from meshca.errors import MeshcaError
from tests.authority.planned_roots import CAS, CAUSE, IDS, LINES, PLAN, abort, adopt, version
from tests.fakes.pki import make_ca
from tests.fakes.roots import HOUR

SIGNERS = [make_ca(f"signer {n}", ca) for n, ca in enumerate(CAS)]
ASKED: dict[str, Callable[[Lifecycle, int], Planned]] = {
    "adopt": lambda life, n: adopt(life, *LINES[: n + 1]),
    "distribute": lambda life, n: planning.distribute(life, IDS[n], CAUSE, version),
    "activate": lambda life, n: planning.activate(life, IDS[n], CAUSE),
    "taint": lambda life, n: planning.taint(life, IDS[n], CAUSE, HOUR),
    "retire": lambda life, n: planning.retire(life, IDS[n], CAUSE, version),
    "note": lambda life, n: note_intermediate(life, IDS[n], SIGNERS[n].certificate, "one", CAUSE),
    "plan": lambda life, n: planning.with_plan(life, replace(PLAN, old=IDS[0], new=IDS[n]), CAUSE),
    "pause": lambda life, _: planning.pause(life, CAUSE),
    "abort": lambda life, _: abort(life),
}


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(asked=st.lists(st.tuples(st.sampled_from(sorted(ASKED)), st.integers(0, 2)), max_size=40))
def test_whatever_is_asked_the_state_stays_whole(asked: list[tuple[str, int]]) -> None:
    """One root signs, one intermediate for each replica, each generation has its bundle, and nothing is lost."""
    life, _ = adopt(EMPTY, LINES[0])
    for name, n in asked:
        try:
            after, changes = ASKED[name](life, n)
        except MeshcaError:
            continue
        assert (after == life) or after.generation == life.generation + 1
        assert {one.generation for one in changes} <= {after.generation}
        assert len(after.of(Kind.ROOT, State.ACTIVE)) == 1
        assert len(after.of(Kind.INTERMEDIATE, State.ACTIVE)) <= 1
        assert set(after.bundles[-1].roots) == {one.id for one in after.trusted}
        assert [one.sequence for one in after.bundles] == list(range(1, len(after.bundles) + 1))
        assert all(one.state is State.RETIRED for one in after.records if _parent_retired(after, one.parent))
        life = after


def _parent_retired(life: Lifecycle, parent: str) -> bool:
    found = life.find(parent)
    return found is not None and found.state is State.RETIRED

"""Who is seen now in a mesh that rotates from an old root to a new one."""

from __future__ import annotations

from collections.abc import Sequence

from meshca.authority.adoption import Adoption
from meshca.authority.fleet import Workload, fleet
from meshca.authority.given import FOLLOWED
from meshca.authority.history import Lifecycle
from meshca.authority.leaves import Leaf
from tests.fakes.pki import NOW
from tests.fakes.roots import HOUR, MINUTE, NEW, OLD, rotating

LIFE = rotating()
FIRST, BOTH = frozenset({OLD}), frozenset({OLD, NEW})
AFTER = NOW - HOUR + FOLLOWED  # when a bundle with the new root was surely out


def seen(
    adoptions: Sequence[Adoption] = (), leaves: Sequence[Leaf] = (), life: Lifecycle = LIFE
) -> tuple[Workload, ...]:
    """Everybody who counts now."""
    return fleet(adoptions, leaves, life, NOW, seen_within=10 * MINUTE, settle=10 * MINUTE)

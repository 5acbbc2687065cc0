"""Which roots came with what: with a bundle's version, with an answer at an instant, above a signer.

Pure; reads the history. What it does not know trusts nothing, and a signer that it does not know may be below any
root that is still trusted.
"""

from __future__ import annotations

from bisect import bisect_right
from datetime import datetime, timedelta
from itertools import accumulate
from typing import Final

from meshca.authority.history import Lifecycle

# Every replica follows a change within a second; what one answers while it may not have heard counts as having had
# only what both bundles have.
FOLLOWED: Final = timedelta(seconds=3)


class Given:
    """What was given out, by a history."""

    def __init__(self, lifecycle: Lifecycle) -> None:
        self._roots = [frozenset(bundle.roots) for bundle in lifecycle.bundles]
        self._versions = {bundle.version: frozenset(bundle.roots) for bundle in lifecycle.bundles}
        # A clock that was set back must not make a later bundle the earlier one.
        self._moments = list(accumulate((bundle.at for bundle in lifecycle.bundles), max))
        self._whole = bool(lifecycle.bundles) and lifecycle.bundles[0].sequence == 1
        self._below = {one.id: frozenset({one.parent or one.id}) for one in lifecycle.records}
        self._trusted = frozenset(root.id for root in lifecycle.trusted)

    def version(self, version: str) -> frozenset[str]:
        """The roots in a bundle of this version; none when it is not remembered."""
        return self._versions.get(version, frozenset())

    def at(self, moment: datetime) -> frozenset[str]:
        """The roots that came with an answer at this instant, whichever replica gave it."""
        first = bisect_right(self._moments, moment - FOLLOWED) - 1
        last = bisect_right(self._moments, moment)
        if first < 0 and self._whole:
            first = 0  # before the first bundle there was none
        return frozenset.intersection(*self._roots[first:last]) if 0 <= first < last else frozenset()

    def below(self, signer: str) -> frozenset[str]:
        """The root that a signer is below; every trusted one when the signer is not known."""
        return self._below.get(signer, self._trusted)

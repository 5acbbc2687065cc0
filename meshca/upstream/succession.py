"""An upstream that takes over from another one: what the one before it made goes on until nobody needs it.

The configuration names one upstream; the mesh below the one before does not vanish with the line that named it. So
its roots stay among the lines, kept and not wanted: `rotation` sees another signer plugged in, distributes its
root, and drops the old one when no certificate below it is in use. What the one before has on disk is never
deleted here: whoever moved may have to move back.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from meshca.authority.material import certificate_id
from meshca.authority.outside import LeafSource
from meshca.authority.upstream import Line, Offer, Upstream
from meshca.errors import MeshcaError
from meshca.log import log

LEFT: Final = "its key is still on disk, and not needed any more: see docs/operations/vault.md"


class Succession:
    """Implements `authority.upstream.Upstream`.

    Args:
        now: what the configuration names.
        before: what it named before, as far as it is still there.
    """

    def __init__(self, now: Upstream, before: Sequence[Upstream]) -> None:
        self._now = now
        self._before = before
        self._whose: dict[str, Upstream] = {}
        self._over: frozenset[str] = frozenset()
        self._today: frozenset[str] = frozenset()  # roots of today's that sign
        self._told = ""
        self._away: MeshcaError | None = None  # why `now` had no lines

    @property
    def problem(self) -> MeshcaError | None:
        """Of what is named today."""
        return self._away or self._now.problem

    @property
    def reached_at(self) -> datetime | None:
        """When what is named today was last there."""
        return self._now.reached_at

    @property
    def leaves(self) -> LeafSource | None:
        """Of what is named today: it signs nothing below a root of before."""
        return self._now.leaves

    async def lines(self) -> Sequence[Line]:
        """Those of today, and what was signed below before; while only the latter can be had, that goes on.

        Raises:
            ConfigError, Unavailable: as what is named today, when nothing before it signs either.
        """
        self._away, today = None, list[Line]()
        try:
            today = list(await self._now.lines())
        except MeshcaError as error:
            self._away = error
        self._today = frozenset(certificate_id(line.root) for line in today if line.signs)
        lines = [*today, *await self._of_before({certificate_id(line.root) for line in today})]
        if self.problem is not None and not any(line.signs for line in lines):
            raise self.problem
        return sorted(lines, key=lambda line: line.root.not_valid_before_utc)

    async def obtain(self, root: str) -> Offer:
        """From whoever has this root."""
        return await self._whose.get(root, self._now).obtain(root)

    async def make_root(self, *, same_key: str = "") -> Line:
        """A root of today's; none is made where nothing new shall begin."""
        return await self._now.make_root(same_key=same_key)

    async def may_make_root(self) -> None:
        """As today's."""
        await self._now.may_make_root()

    async def forget(self, keep: Collection[str]) -> None:
        """Name other roots of before no more; what of them is on disk is told and left.

        While only roots of before are to be kept, as after a move that was given up, today's are left as well.

        Raises:
            InvariantBroken, ConfigError, Unavailable: as what is named today; nothing was forgotten.
        """
        if self._whose.keys().isdisjoint(keep) or not self._today.isdisjoint(keep):
            await self._now.forget(keep)
        for root in sorted(self._whose.keys() - set(keep)):
            del self._whose[root]
            self._over |= {root}
            log.warning("upstream.left_behind", root=root, detail=LEFT)

    async def changed(self) -> None:
        """Return when what is named today has changed."""
        await self._now.changed()

    async def _of_before(self, known: Collection[str]) -> list[Line]:
        """What was made before, and is not over; what of it cannot be read is not there."""
        found: dict[str, tuple[Line, Upstream]] = {}
        for upstream in self._before:
            try:
                lines = await upstream.lines()
            except MeshcaError as error:
                self._tell(error)
                continue
            found |= {certificate_id(line.root): (line, upstream) for line in lines if line.signs}
        ours = {root: one for root, one in found.items() if root not in known and root not in self._over}
        self._whose = {root: upstream for root, (_, upstream) in ours.items()}
        return [replace(line, wanted=False, kept=True, current=False, made=False) for line, _ in ours.values()]

    def _tell(self, error: MeshcaError) -> None:
        if self._told != str(error):  # once for each cause, not for each turn
            log.warning("upstream.before", reason=error.reason, detail=error.detail)
        self._told = str(error)

"""An upstream that has the lines a test puts into it, and fails when a test says so."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from datetime import datetime

from cryptography import x509

from meshca.authority.material import SigningMaterial, certificate_id
from meshca.authority.outside import LeafSource
from meshca.authority.upstream import Line, Offer, Upstream
from meshca.errors import ConfigError, InvariantBroken, MeshcaError, Refused
from meshca.upstream.sound_root import root_of
from tests.fakes.pki import NOW, Ca, good_material, make_ca


class FakeUpstream:
    """Implements `authority.upstream.Upstream`.

    Args:
        materials: one for each root below which it signs, the first root first.
        renew_at: with every offer.

    Attributes:
        materials: what is offered, by the root's id.
        named: further roots, which sign nothing.
        unwanted: ids of roots that are no longer named by whoever plugged them in.
        current: ids of roots below which what signs is there now, not only kept from before.
        renew_at: with every offer.
        problem: what `problem` says.
        reached_at: what `reached_at` says.
        leaves: who signs leaves in our place.
        error: raised instead of every answer, while it is set.
        errors: raised instead of one method's answers, by its name.
        makes_roots: whether roots are made here.
        asked: how often material was asked for.
        history: what was asked, in order: `lines`, `obtain ID`, `may_make_root`, `make_root`, `forget`.
    """

    def __init__(self, *materials: SigningMaterial, renew_at: datetime | None = None) -> None:
        self.materials = {certificate_id(root_of(material)): material for material in materials}
        self.named: list[Ca] = []
        self.unwanted: set[str] = set()
        self.current: set[str] = set()
        self.renew_at = renew_at
        self.problem: MeshcaError | None = None
        self.reached_at: datetime | None = None
        self.leaves: LeafSource | None = None
        self.error: MeshcaError | None = None
        self.errors: dict[str, MeshcaError] = {}
        self.makes_roots = True
        self.asked = 0
        self.history: list[str] = []
        self._made = 0
        self._changed = asyncio.Event()

    def change(self, *materials: SigningMaterial, error: MeshcaError | None = None) -> None:
        """Have other lines, if there are materials, or an error, and say that something changed."""
        if materials:
            self.offer(*materials)
        self.error = error
        self._changed.set()

    def offer(self, *materials: SigningMaterial) -> None:
        """Have other lines and say nothing: only time brings the question."""
        self.materials = {certificate_id(root_of(material)): material for material in materials}

    async def lines(self) -> Sequence[Line]:
        """What the test put in."""
        self._changed.clear()
        self._answer("lines")
        signing = [self._line(root_of(material)) for material in self.materials.values()]
        return [*signing, *(Line(root=ca.certificate, signs=False) for ca in self.named)]

    async def obtain(self, root: str) -> Offer:
        """What the test put in."""
        self.asked += 1
        self._answer("obtain", root)
        if root not in self.materials:
            raise ConfigError("fake", [f"nothing signs below the root {root}; name another"])
        return Offer(material=self.materials[root], renew_at=self.renew_at)

    async def make_root(self, *, same_key: str = "") -> Line:
        """A root that nobody else has, with a signing certificate below it."""
        self._answer("make_root")
        self._refuse_making()
        if same_key and same_key not in self.materials:
            raise Refused("upstream", f"there is no root {same_key} whose key could be used again; name another")
        self._made += 1
        root = make_ca(f"made root {self._made}", begin=NOW)
        material = good_material(root=root)
        self.materials[certificate_id(root_of(material))] = material
        return self._line(root.certificate)

    async def may_make_root(self) -> None:
        """As the test says."""
        self._answer("may_make_root")
        self._refuse_making()

    def _refuse_making(self) -> None:
        if not self.makes_roots:
            raise Refused("upstream", "roots are not made here; put one into the fake")

    async def forget(self, keep: Collection[str]) -> None:
        """Have the others no more; where roots are not made, those that are wanted are the operator's and stay."""
        self._answer("forget")
        if not any(root in keep for root in self.materials):
            raise InvariantBroken("forget", "no root that signs was named to be kept; nothing was deleted")
        theirs = set() if self.makes_roots else self.materials.keys() - self.unwanted
        self.materials = {root: its for root, its in self.materials.items() if root in keep or root in theirs}

    async def changed(self) -> None:
        """Return once `change` was called."""
        await self._changed.wait()

    def _line(self, root: x509.Certificate) -> Line:
        id_ = certificate_id(root)
        return Line(root=root, signs=True, wanted=id_ not in self.unwanted, current=id_ in self.current)

    def _answer(self, method: str, argument: str = "") -> None:
        self.history.append(f"{method} {argument}".strip())
        if error := self.error or self.errors.get(method):
            raise error


async def first_offer(upstream: Upstream) -> Offer:
    """What signs below the root that began first."""
    lines = await upstream.lines()
    return await upstream.obtain(next(certificate_id(line.root) for line in lines if line.signs))


async def told(upstream: Upstream) -> list[tuple[str, bool, bool]]:
    """The lines: subject, whether it signs, whether it is wanted."""
    return [
        (line.root.subject.rfc4514_string().removeprefix("CN="), line.signs, line.wanted)
        for line in await upstream.lines()
    ]

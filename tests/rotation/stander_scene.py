"""A stander over an upstream that signs below an old root and a new one."""

from __future__ import annotations

from meshca.authority.drafting import Planned
from meshca.authority.history import Kind, Lifecycle, Plan, Record
from meshca.authority.lifecycle import State
from meshca.authority.material import SigningMaterial, certificate_id
from meshca.rotation.stander import Stander
from meshca.rotation.standing import Standing
from tests.fakes.clock import FakeClock
from tests.fakes.lifecycle_store import FakeLifecycles
from tests.fakes.pki import NOW, TRUST_DOMAIN, Ca, good_material, make_ca
from tests.fakes.roots import MINUTE, NEW, OLD
from tests.fakes.upstream import FakeUpstream

OLD_CA, NEW_CA = make_ca("old"), make_ca("new")
OLD_SIGNS, NEW_SIGNS = good_material(root=OLD_CA), good_material(root=NEW_CA)
PLAN = Plan(old=OLD, new=NEW, automatic=True, compromised=True, window=5 * MINUTE, started_at=NOW, by="anna")


def record(ca: Ca, state: State) -> Record:
    """A root."""
    return Record(id=certificate_id(ca.certificate), kind=Kind.ROOT, state=state, pem=ca.pem, since=NOW)


def kept_of(old: State = State.ACTIVE, new: State | None = None) -> Lifecycle:
    """The old root alone, or both."""
    roots = (record(OLD_CA, old), *(() if new is None else (record(NEW_CA, new),)))
    return Lifecycle(generation=1, records=roots)


class Scene:
    """A stander over an upstream that signs below both roots."""

    def __init__(self, kept: Lifecycle, replica: str = "") -> None:
        self.upstream = FakeUpstream(OLD_SIGNS, NEW_SIGNS)
        self.store = FakeLifecycles(kept)
        self.clock = FakeClock(NOW)
        self.stander = Stander(
            upstream=self.upstream,
            keep=self._keep,
            clock=self.clock,
            trust_domain=TRUST_DOMAIN,
            replica=replica,
        )

    async def _keep(self, _before: Lifecycle, made: Planned) -> Lifecycle:
        after, changes = made
        await self.store.commit(after, changes)
        return after

    async def stand(self) -> Standing:
        """What shall be in force."""
        _, standing, _ = await self.stander.stand(self.store.lifecycle)
        return standing

    def states(self) -> dict[str, State]:
        """Of the intermediates, by id."""
        return {one.id: one.state for one in self.store.lifecycle.of(Kind.INTERMEDIATE)}

    def offer(self, root: Ca, material: SigningMaterial) -> None:
        """From now on below this root."""
        self.upstream.materials[certificate_id(root.certificate)] = material


def id_of(material: SigningMaterial) -> str:
    """What the signer is called."""
    return certificate_id(material.certificate)

"""A stepper over fakes, with one root that signs and another that may follow."""

from __future__ import annotations

from meshca.authority.drafting import Cause
from meshca.authority.history import Kind, Lifecycle
from meshca.authority.lifecycle import State
from meshca.authority.material import certificate_id
from meshca.config.rotation import RotationConfig
from meshca.rotation.judge import Judge
from meshca.rotation.steady import SteadyClock
from meshca.rotation.stepper import Stepper
from tests.fakes.clock import FakeClock
from tests.fakes.lifecycle_store import FakeLifecycles
from tests.fakes.pki import DAY, NOW, TRUST_DOMAIN, good_material, make_ca
from tests.fakes.rotation_rig import TERMS, FakeCensus
from tests.fakes.upstream import FakeUpstream

ANNA = Cause(by="anna", reason="the audit", at=NOW)
ROOT, OTHER = make_ca("root", begin=NOW, end=NOW + 100 * DAY), make_ca("other", begin=NOW)
SIGNS, OTHER_SIGNS = good_material(root=ROOT), good_material(root=OTHER)
ROOT_ID, OTHER_ID = certificate_id(ROOT.certificate), certificate_id(OTHER.certificate)


class Scene:
    """A stepper over fakes."""

    def __init__(self, *, config: RotationConfig | None = None, plugged_in: bool = False) -> None:
        self.living: tuple[str, ...] = ("one",)
        self.clock = FakeClock(NOW)
        self.upstream, self.store, self.census = FakeUpstream(SIGNS), FakeLifecycles(), FakeCensus()
        self.stepper = Stepper(
            upstream=self.upstream,
            store=self.store,
            judge=Judge(census=self.census, terms=TERMS, clock=SteadyClock(self.clock), living=self._living),
            clock=self.clock,
            trust_domain=TRUST_DOMAIN,
            config=config or RotationConfig(),
            plugged_in=plugged_in,
        )

    async def _living(self) -> tuple[str, ...]:
        return self.living

    async def adopt(self) -> Lifecycle:
        """Take up what the upstream has."""
        return await self.stepper.adopt(self.store.lifecycle, await self.upstream.lines())

    async def step(self) -> str:
        """Take steps; why the next is not taken."""
        _, held = await self.stepper.step(self.store.lifecycle, await self.upstream.lines())
        return held

    async def begin(self, **options: object) -> Lifecycle:
        """Begin a rotation."""
        kept, _ = await self.stepper.begin(self.store.lifecycle, ANNA, **options)  # type: ignore[arg-type]
        return kept

    @property
    def states(self) -> list[State]:
        """Of the roots, oldest first."""
        return [one.state for one in self.store.lifecycle.of(Kind.ROOT)]

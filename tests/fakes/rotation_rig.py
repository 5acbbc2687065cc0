"""A driver with its parts over fakes: what a test says is the fleet, the upstream, and what is kept."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta

from meshca.authority.fleet import Workload
from meshca.authority.gate import Terms
from meshca.authority.history import Lifecycle
from meshca.authority.material import SigningMaterial
from meshca.authority.upstream import Upstream
from meshca.clock import Clock
from meshca.config.rotation import RotationConfig
from meshca.errors import MeshcaError
from meshca.rotation.acts import RootActs
from meshca.rotation.driver import Rotation
from meshca.rotation.judge import Judge, Replicas, nobody
from meshca.rotation.reporting import Reporting
from meshca.rotation.stander import Stander
from meshca.rotation.standing import Standing
from meshca.rotation.steady import SteadyClock
from meshca.rotation.stepper import Stepper
from tests.fakes.jitter import Jitter
from tests.fakes.lifecycle_store import FakeLifecycles
from tests.fakes.pki import TRUST_DOMAIN

TERMS = Terms(share=1.0, settle=timedelta(minutes=1), published_for=timedelta(0))


def standing_of(material: SigningMaterial) -> Standing:
    """One signer for everything, and no order."""
    return Standing(signer=material, serving=material)


@dataclass(slots=True, kw_only=True)
class FakeCensus:
    """Stands for `rotation.census.Census`: the fleet is what a test says.

    Attributes:
        fleet: everyone.
        error: raised instead, while it is set.
    """

    fleet: tuple[Workload, ...] = ()
    error: MeshcaError | None = None
    seen_within: timedelta = timedelta(hours=24)
    asked: list[int] = field(default_factory=list)

    async def workloads(self, lifecycle: Lifecycle) -> tuple[Workload, ...]:
        """What the test put in."""
        self.asked.append(lifecycle.generation)
        if self.error is not None:
            raise self.error
        return self.fleet


@dataclass(frozen=True, slots=True, kw_only=True)
class Rig:
    """The parts."""

    rotation: Rotation
    acts: RootActs
    store: FakeLifecycles
    census: FakeCensus


def rig(
    upstream: Upstream,
    clock: Clock,
    publish: Callable[[Standing], Awaitable[None]],
    *,
    store: FakeLifecycles | None = None,
    census: FakeCensus | None = None,
    config: RotationConfig | None = None,
    plugged_in: bool = False,
    leading: bool = True,
    replica: str = "",
    jitter: float = 1.0,
    silent: Replicas = nobody,
    living: Replicas = nobody,
) -> Rig:
    """A driver that has not started."""
    store, census = store or FakeLifecycles(), census or FakeCensus()
    judge = Judge(census=census, terms=TERMS, clock=SteadyClock(clock), silent=silent, living=living)
    stepper = Stepper(
        upstream=upstream,
        store=store,
        judge=judge,
        clock=clock,
        trust_domain=TRUST_DOMAIN,
        config=config or RotationConfig(),
        plugged_in=plugged_in,
    )
    stander = Stander(
        upstream=upstream, keep=stepper.commit, clock=clock, trust_domain=TRUST_DOMAIN, replica=replica
    )
    rotation = Rotation(
        upstream=upstream,
        store=store,
        stepper=stepper,
        stander=stander,
        clock=clock,
        publish=publish,
        leading=lambda: leading,
        rng=Jitter(jitter),
    )
    acts = RootActs(
        store=store,
        stepper=stepper,
        judge=judge,
        rotation=rotation,
        reporting=Reporting(judge=judge, clock=clock),
        clock=clock,
    )
    return Rig(rotation=rotation, acts=acts, store=store, census=census)

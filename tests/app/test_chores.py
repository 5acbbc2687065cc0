"""Facts about what the parent does beside serving."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace
from datetime import datetime, timedelta
from typing import cast

from meshca import metrics
from meshca.app import chores
from meshca.app.control import UseAdmission, UsePolicies
from meshca.app.in_force import InForce
from meshca.app.loading import Loaded, Policies
from meshca.authority.history import Lifecycle
from meshca.authority.lifecycle import TRUSTED, State
from meshca.authority.slot import Slot
from meshca.config.server import LedgerConfig, ServerConfig, SvidConfig
from meshca.errors import Unavailable
from meshca.rotation.driver import Rotation
from meshca.rotation.progress import Progress
from meshca.store.engine import Store
from tests.fakes.clock import FakeClock
from tests.fakes.logs import captured_logs
from tests.fakes.pki import NOW, TRUST_DOMAIN, good_material, make_ca
from tests.fakes.roots import root


class FakeStore:
    """Remembers what was to be removed."""

    def __init__(self) -> None:
        self.ledger = self.adoption = self
        self.pruned: list[datetime] = []
        self.forgotten: list[datetime] = []
        self.down = False

    async def prune(self, before: datetime) -> int:
        """Remember."""
        if self.down:
            raise Unavailable("store", "is down")
        self.pruned.append(before)
        return 3

    async def forget(self, before: datetime) -> None:
        """Agents too."""
        self.forgotten.append(before)


class FakeRotation:
    """Stands somewhere."""

    progress = Progress()


def in_force() -> InForce:
    """The defaults."""
    loaded = Loaded(
        config=ServerConfig(),
        admission=UseAdmission(text="", source=""),
        policies=Policies(news=UsePolicies(files={})),
    )
    return InForce(loaded, {})


async def test_prunes_by_what_is_in_force() -> None:
    """Certificates by the retention, agents by the longest lifetime; a store that is down is tried again."""
    clock, store, force = FakeClock(), FakeStore(), in_force()
    task = asyncio.create_task(chores.prune(cast("Store", store), force, clock))
    with captured_logs() as logs:
        await clock.advance(0)
        store.down = True
        await clock.advance(chores.PRUNE_SECONDS)
        store.down = False
        svid = SvidConfig(max_lifetime=timedelta(days=2))
        config = ServerConfig(ledger=LedgerConfig(retention=timedelta(days=1)), svid=svid)
        force.loaded = replace(force.loaded, config=config)
        await clock.advance(chores.PRUNE_SECONDS)
    task.cancel()
    begin = clock.now() - timedelta(seconds=2 * chores.PRUNE_SECONDS)
    assert store.pruned == [begin - timedelta(days=90), clock.now() - timedelta(days=1)]
    assert store.forgotten == [begin - timedelta(days=1), clock.now() - timedelta(days=2)]
    assert [line["event"] for line in logs] == ["ledger.pruned", "ledger.prune_failed", "ledger.pruned"]


async def test_shows_when_certificates_end() -> None:
    """The gauges follow the signer; each failure of the upstream is counted once."""
    clock, rotation = FakeClock(), FakeRotation()
    counter = metrics.reload_failures.labels("upstream")
    before = counter._value.get()
    task = asyncio.create_task(chores.show_expiry(cast("Rotation", rotation), in_force(), clock))
    await clock.advance(1)
    slot = Slot.prove(good_material(), TRUST_DOMAIN, NOW)
    rotation.progress = Progress(slot=slot, failures=2)
    await clock.advance(2)
    task.cancel()
    assert counter._value.get() == before + 2
    for kind, ends in slot.expiries.items():
        assert metrics.certificate_expiry.labels(kind)._value.get() == ends.timestamp()
    first = min(one.not_valid_after_utc for one in slot.path)
    assert metrics.upstream_autonomy._value.get() == (first - clock.now()).total_seconds()


async def test_shows_when_each_trusted_root_ends() -> None:
    """The first of each state; never for a state in which none is, and what is not trusted is left out."""
    clock, rotation = FakeClock(), FakeRotation()
    ends = {State.ACTIVE: (9, 7), State.RETIRING: (5,), State.PREPARED: (3,), State.RETIRED: (1,)}
    records = tuple(
        replace(root(f"{state}{days}", state), pem=make_ca("root", end=NOW + timedelta(days=days)).pem)
        for state, lives in ends.items()
        for days in lives
    )
    rotation.progress = Progress(kept=Lifecycle(records=records))
    task = asyncio.create_task(chores.show_expiry(cast("Rotation", rotation), in_force(), clock))
    await clock.advance(1)
    task.cancel()
    shown = {state: metrics.root_expiry.labels(state)._value.get() for state in TRUSTED}
    assert shown == {
        State.ACTIVE: (NOW + timedelta(days=7)).timestamp(),
        State.RETIRING: (NOW + timedelta(days=5)).timestamp(),
        State.DISTRIBUTING: math.inf,
        State.TAINTED: math.inf,
    }

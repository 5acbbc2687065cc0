"""What the parent of a server does when told: takes files and configurations, and answers whether all works.

Nothing is half taken: what cannot be used in full changes nothing, and is remembered with its problems. Reading
must never hold up the event loop: a large set of policies takes seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, replace
from typing import Final, TypeVar

from meshca.app import loading
from meshca.app.health import Health
from meshca.app.in_force import InForce
from meshca.app.loading import Loaded
from meshca.app.place import WorkerState
from meshca.app.supervisor import Supervisor
from meshca.clock import Clock
from meshca.config.server import ServerConfig
from meshca.errors import ConfigError
from meshca.web.pages import Readiness

PROBE_AGE: Final = 1.0  # seconds for which an answer of /readyz is used again: probes write to the store
T = TypeVar("T")
Load = Callable[[], Loaded]


class Parent:
    """What the parent of a server does while it runs.

    Args:
        load: reads the configuration and its files.
        in_force: what is in force.
        supervisor: of the workers.
        clock: for the age of probes.
        taken: called with each configuration that comes into force later.
    """

    def __init__(
        self,
        *,
        load: Load,
        in_force: InForce,
        supervisor: Supervisor,
        clock: Clock,
        taken: Callable[[Loaded], None],
    ) -> None:
        self.in_force = in_force
        self.supervisor = supervisor
        self.health = Health(supervisor, clock)
        self._load = load
        self._taken = taken
        self._clock = clock
        self._changing = asyncio.Lock()
        self._probing: asyncio.Task[Readiness] | None = None
        self._probed_at = 0.0

    async def reload_admission(self) -> None:
        """Take the rule file as it is now, or keep the rules in force."""
        with self.in_force.changing("admission"):
            async with self._read(loading.read_admission) as rules:
                self.in_force.loaded = replace(self.in_force.loaded, admission=rules)
                await self.supervisor.tell_all(rules)

    async def reload_policies(self) -> None:
        """Take the policy files as they are now, or keep the policies in force."""
        with self.in_force.changing("policies"):
            before = self.in_force.loaded.policies.parsed
            async with self._read(lambda config: loading.read_policies(config, before)) as policies:
                self.in_force.loaded = replace(self.in_force.loaded, policies=policies)
                await self.supervisor.tell_all(policies.news)

    @contextlib.asynccontextmanager
    async def _read(self, read: Callable[[ServerConfig], T]) -> AsyncIterator[T]:
        """Files read in a thread by the configuration in force, and nothing else changes inside the block."""
        while True:
            config = self.in_force.loaded.config
            try:
                found = await asyncio.to_thread(read, config)  # before the lock: the brake waits for no large set
            except ConfigError:
                if config is self.in_force.loaded.config:
                    raise
                continue
            async with self._changing:
                if config is self.in_force.loaded.config:
                    yield found
                    return

    async def reload_all(self) -> None:
        """Load everything anew and replace the workers, or keep all as it is."""
        async with self._changing:
            with self.in_force.changing("config", self._again):
                loaded = await asyncio.to_thread(self._load)
                self.in_force.check_replaceable(loaded)
                briefing = functools.partial(self.in_force.briefing, loaded=loaded)
                fresh = await self.supervisor.prepare(briefing)
                self.in_force.take(loaded)
                self._taken(loaded)
                await self.supervisor.replace(fresh, loaded.config.serving.drain_timeout.total_seconds())

    def _again(self) -> str:
        """When this was; nothing repeats the attempt by itself, though its cause may have passed."""
        return f" (at {self._clock.now().strftime('%Y-%m-%dT%H:%M:%SZ')}; once mended, send SIGHUP again)"

    async def readiness(self) -> Readiness:
        """Whether every worker works now; asked at most once a second, however many ask."""
        if self._probing is None or self._clock.monotonic() - self._probed_at >= PROBE_AGE:
            if self._probing is not None and not self._probing.done():
                return await asyncio.shield(self._probing)
            self._probed_at = self._clock.monotonic()
            self._probing = asyncio.create_task(self._probe())
        return await asyncio.shield(self._probing)

    async def _probe(self) -> Readiness:
        states = await self.supervisor.states()
        return Readiness(
            ready=all(state.ready for state in states),
            detail={"workers": [_shown(state) for state in states]},
        )


def _shown(state: WorkerState) -> dict[str, object]:
    """A worker as /readyz shows it."""
    return {name: value for name, value in asdict(state).items() if name not in {"serving", "clusters"}}

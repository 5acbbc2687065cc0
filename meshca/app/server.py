"""The parent of a server: loads, opens, watches, serves HTTP, and keeps the workers that do the work.

Everything that workers share is decided here once: ports, signing material, rules, policies. The parent never
answers a workload, so nothing that a workload sends can reach the process that holds the upstream's keys.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Final

from meshca import metrics
from meshca.app import chores, loading
from meshca.app.admin_server import admin_serving
from meshca.app.control import UsePolicies, worker_instance
from meshca.app.controllers import controlling
from meshca.app.data_dir import locked
from meshca.app.ending import EndWatch
from meshca.app.health import Health
from meshca.app.in_force import InForce
from meshca.app.late_upstream import late_upstream
from meshca.app.loading import Loaded
from meshca.app.ports import Address, address_of, reserve
from meshca.app.spawning import Spawning
from meshca.app.starting import Starting
from meshca.app.status import Status
from meshca.app.stopping import Stopping
from meshca.app.supervisor import Supervisor, Worker
from meshca.app.upstreams import open_upstream
from meshca.app.watch import Watch
from meshca.app.worker_state import WorkerState
from meshca.authority.material import SigningMaterial
from meshca.background import running
from meshca.clock import Clock, SystemClock
from meshca.errors import Unavailable
from meshca.log import configure, log
from meshca.rotation import Rotation
from meshca.store.engine import Store, open_store
from meshca.web.pages import Readiness, application
from meshca.web.serving import serving

PROBE_AGE: Final = 1.0  # seconds for which an answer of /readyz is used again: probes write to the store
Load = Callable[[], Loaded]


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A server that serves.

    Attributes:
        token: where callers with a token connect, from this machine.
        mtls: where callers with a certificate connect.
        http: metrics and health.
        roots: PEM of all roots.
    """

    token: Address
    mtls: Address
    http: Address
    roots: str


class Server:
    """A running parent.

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
        async with self._changing:
            with self.in_force.changing("admission"):
                rules = loading.read_admission(self.in_force.loaded.config)
                self.in_force.loaded = replace(self.in_force.loaded, admission=rules)
                await self.supervisor.tell_all(rules)

    async def reload_policies(self) -> None:
        """Take the policy files as they are now, or keep the policies in force."""
        async with self._changing:
            with self.in_force.changing("policies"):
                policies: UsePolicies = loading.read_policies(self.in_force.loaded.config)
                self.in_force.loaded = replace(self.in_force.loaded, policies=policies)
                await self.supervisor.tell_all(policies)

    async def reload_all(self) -> None:
        """Load everything anew and replace the workers, or keep all as it is."""
        async with self._changing:
            with self.in_force.changing("config"):
                loaded = await asyncio.to_thread(self._load)
                self.in_force.check_replaceable(loaded)
                briefing = functools.partial(self.in_force.briefing, loaded=loaded)
                fresh = await self.supervisor.prepare(briefing)
                self.in_force.take(loaded)
                self._taken(loaded)
                await self.supervisor.replace(fresh, loaded.config.serving.drain_timeout.total_seconds())

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


async def serve(load: Load, announced: Callable[[Started], None], spawning: Spawning) -> None:
    """Serve until told to stop by a signal.

    Args:
        load: reads the configuration; called again at SIGHUP.
        announced: called once every worker serves.
        spawning: launches workers, and has launched the first.

    Raises:
        ConfigError: the configuration or what it names cannot be used.
        Unavailable: it cannot start now.
    """
    stopping = Stopping()
    hangup = asyncio.Event()
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(stopping.listening(hangup.set))
        opening = _open(stack, load, spawning, SystemClock())
        opened = await stopping.unless_asked(opening)
        if opened is None:
            return
        server, started = opened
        announced(started)
        log.info("server.ready", token=str(started.token), mtls=str(started.mtls), http=str(started.http))
        async with running("health", server.health.run, SystemClock()):  # not while it drains: nobody answers then
            await stopping.unless_asked(_on_each(hangup, server.reload_all))
        drain = server.in_force.loaded.config.serving.drain_timeout.total_seconds()
        await stopping.unless_forced(server.supervisor.stop(drain))


async def _open(
    stack: contextlib.AsyncExitStack, load: Load, spawning: Spawning, clock: Clock
) -> tuple[Server, Started]:
    """Everything open and every worker serving; the stack closes it."""
    metrics.build.labels(version("meshca")).set(1)
    loaded = load()
    config = loaded.config
    stack.enter_context(locked(config.data_dir))
    held = stack.enter_context(
        reserve(
            {"listen.token": config.listen.token, "listen.mtls": config.listen.mtls},
            {"listen.http": config.listen.http},
        )
    )
    token, mtls, http = (address_of(held[f"listen.{name}"]) for name in ("token", "mtls", "http"))
    in_force = InForce(loaded, {"token": token, "mtls": mtls})
    store = await stack.enter_async_context(open_store(config.ledger_url, clock, migrate=True, instance="parent"))
    await store.adoption.disconnect_everyone()
    opening = late_upstream(functools.partial(open_upstream, config, clock))
    upstream = await stack.enter_async_context(opening)

    async def publish(material: SigningMaterial) -> None:
        await supervisor.tell_all(in_force.use_material(material))

    supervisor = Supervisor(
        count=config.worker_count,
        spawn=spawning.spawn,
        briefing=in_force.briefing,
        gone=_Departures(store, spawning.metrics_folder),
        clock=clock,
    )
    rotation = Rotation(upstream, clock, config.trust_domain, publish)
    server = Server(load=load, in_force=in_force, supervisor=supervisor, clock=clock, taken=_log_by)
    stack.push_async_callback(supervisor.kill)
    starting = Starting(rotation, server.readiness)
    pages = application(
        readiness=starting.readiness,
        metrics=lambda: metrics.render(spawning.metrics_folder),
        metrics_type=metrics.CONTENT_TYPE,
    )
    await stack.enter_async_context(serving(pages, held["listen.http"]))
    end_watch = EndWatch(rotation, in_force, clock)
    controllers = await stack.enter_async_context(controlling(config, in_force, rotation, store.ledger, clock))
    status = Status(
        in_force=in_force,
        supervisor=supervisor,
        rotation=rotation,
        end_watch=end_watch,
        adoptions=store.adoption,
        started_at=clock.now(),
        kubernetes=controllers.report if controllers else None,
    )
    uids = config.admin.uids or (os.geteuid(),)
    await stack.enter_async_context(
        admin_serving(config.admin_socket, uids=uids, status=status.report, ledger=store.ledger, clock=clock)
    )
    await rotation.start()
    await supervisor.start()
    starting.over = True
    watch = Watch(clock)
    watch.add(
        "admission",
        lambda: loading.admission_paths(in_force.loaded.config),
        server.reload_admission,
        read=loading.admission_read(loaded),
    )
    watch.add(
        "policies",
        lambda: loading.policy_paths(in_force.loaded.config),
        server.reload_policies,
        read=loading.policies_read(loaded),
    )
    for name, run in (
        ("watch", watch.run),
        ("rotation", rotation.run),
        ("end watch", end_watch.run),
        ("expiry", functools.partial(chores.show_expiry, rotation, clock)),
        ("prune", functools.partial(chores.prune, store, in_force, clock)),
    ):
        await stack.enter_async_context(running(name, run, clock))
    authority = in_force.authority
    assert authority is not None  # noqa: S101 - rotation has started
    return server, Started(token=token.reachable, mtls=mtls.reachable, http=http.reachable, roots=authority.roots)


def _log_by(loaded: Loaded) -> None:
    """Log as the configuration says, in this process; workers are told by their briefing."""
    configure(level=loaded.config.log.level, format_=loaded.config.log.format)


async def _on_each(event: asyncio.Event, act: Callable[[], Awaitable[None]]) -> None:
    while True:
        await event.wait()
        event.clear()
        await act()


class _Departures:
    """Cleans up after workers that have ended."""

    def __init__(self, store: Store, metrics_folder: Path) -> None:
        self._store = store
        self._metrics_folder = metrics_folder
        self._tasks: set[asyncio.Task[None]] = set()

    def __call__(self, worker: Worker) -> None:
        metrics.forget(worker.name, self._metrics_folder)
        task = asyncio.create_task(self._disconnect(worker_instance(worker.name, worker.pid)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _disconnect(self, instance: str) -> None:
        with contextlib.suppress(Unavailable):  # the store is gone or going; the next start does it for all
            await self._store.adoption.disconnect_worker(instance)

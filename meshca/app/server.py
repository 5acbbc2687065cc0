"""The parent of a server: loads, opens, watches, serves HTTP, and keeps the workers that do the work.

Everything that workers share is decided here once: ports, signing material, rules, policies. The parent never
answers a workload, so nothing that a workload sends can reach the process that holds the upstream's keys.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from meshca import metrics
from meshca.app import chores, loading
from meshca.app.admin_server import Administration, admin_serving, door_serving
from meshca.app.control import worker_instance
from meshca.app.controllers import controlling
from meshca.app.data_dir import locked
from meshca.app.ending import EndWatch
from meshca.app.in_force import InForce
from meshca.app.late_upstream import late_upstream
from meshca.app.leaf_desk import answered, noted
from meshca.app.loading import Loaded
from meshca.app.parent import Load, Parent
from meshca.app.place import Worker
from meshca.app.ports import Address, address_of, reserve
from meshca.app.process import LeafAnswers
from meshca.app.publication import Publication
from meshca.app.rotating import rotating
from meshca.app.sharing import sharing
from meshca.app.spawning import Spawning
from meshca.app.starting import Starting
from meshca.app.status import Status
from meshca.app.stopping import Stopping
from meshca.app.supervisor import Supervisor
from meshca.app.upstreams import open_upstream
from meshca.app.watch import Watch
from meshca.background import running
from meshca.clock import Clock, SystemClock
from meshca.errors import Unavailable
from meshca.log import configure, log
from meshca.rotation.acts import RootActs
from meshca.rotation.driver import Rotation
from meshca.rotation.standing import Standing
from meshca.store.engine import Store, open_store
from meshca.web.pages import application
from meshca.web.serving import serving


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
        parent, started = opened
        announced(started)
        log.info("server.ready", token=str(started.token), mtls=str(started.mtls), http=str(started.http))
        async with running("health", parent.health.run, SystemClock()):  # not while it drains: nobody answers then
            await stopping.unless_asked(_on_each(hangup, parent.reload_all))
        drain = parent.in_force.loaded.config.serving.drain_timeout.total_seconds()
        await stopping.unless_forced(parent.supervisor.stop(drain))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """What a server is made of."""

    parent: Parent
    starting: Starting
    rotation: Rotation
    acts: RootActs
    end_watch: EndWatch
    publication: Publication
    store: Store
    clock: Clock


async def _open(
    stack: contextlib.AsyncExitStack, load: Load, spawning: Spawning, clock: Clock
) -> tuple[Parent, Started]:
    """Everything open and every worker serving; the stack closes it."""
    metrics.build.labels(version("meshca")).set(1)
    loaded = load()
    listen = loaded.config.listen
    stack.enter_context(locked(loaded.config.data_dir))
    tls = {"listen.token": listen.token, "listen.mtls": listen.mtls}
    held = stack.enter_context(reserve(tls, {"listen.http": listen.http}))
    token, mtls, http = (address_of(held[f"listen.{name}"]) for name in ("token", "mtls", "http"))
    parts = await _parts(stack, load, InForce(loaded, {"token": token, "mtls": mtls}), spawning, clock)
    await _answer(stack, parts, held["listen.http"], spawning.metrics_folder)
    await parts.rotation.start()  # may wait for its upstream: until then the pages say for what
    await parts.parent.supervisor.start()
    parts.starting.over = True
    for name, run in _beside(parts).items():
        await stack.enter_async_context(running(name, run, clock))
    authority = parts.parent.in_force.authority
    assert authority is not None  # noqa: S101 - rotation has started
    roots = authority.roots
    return parts.parent, Started(token=token.reachable, mtls=mtls.reachable, http=http.reachable, roots=roots)


async def _parts(
    stack: contextlib.AsyncExitStack, load: Load, in_force: InForce, spawning: Spawning, clock: Clock
) -> _Parts:
    """Store, upstream, signer and workers; only the store is asked for anything yet."""
    config = in_force.loaded.config
    shared = sharing(config)
    store = await stack.enter_async_context(
        open_store(config.ledger_url, clock, migrate=True, instance="parent", sharing=shared)
    )
    await store.adoption.disconnect_everyone()

    async def mesh_roots() -> frozenset[str]:
        return frozenset(root.id for root in (await store.lifecycle.load()).trusted)

    opening = late_upstream(functools.partial(open_upstream, config, clock, mesh_roots))
    upstream = await stack.enter_async_context(opening)
    spawning.leaves = LeafAnswers(
        give=lambda question: answered(question, upstream.leaves),
        note=lambda verdict: noted(verdict, upstream.leaves),
    )
    supervisor = Supervisor(
        count=config.worker_count,
        spawn=spawning.spawn,
        briefing=in_force.briefing,
        gone=_Departures(store, spawning.metrics_folder),
        clock=clock,
    )

    async def publish(standing: Standing) -> None:
        await supervisor.tell_all(*in_force.use_standing(standing))

    publication = Publication(clock)
    parts = rotating(config, upstream=upstream, store=store, clock=clock, publish=publish, publication=publication)
    rotation = parts.rotation
    stack.push_async_callback(supervisor.kill)
    parent = Parent(load=load, in_force=in_force, supervisor=supervisor, clock=clock, taken=_log_by)
    return _Parts(
        parent=parent,
        starting=Starting(rotation, parent.readiness),
        rotation=rotation,
        acts=parts.acts,
        end_watch=EndWatch(rotation, in_force, parts.acts.report, clock),
        publication=publication,
        store=store,
        clock=clock,
    )


async def _answer(
    stack: contextlib.AsyncExitStack, parts: _Parts, listener: socket.socket, metrics_folder: Path
) -> None:
    """Metrics and probes over HTTP, what is written to a cluster, and the administrator's socket."""
    parent = parts.parent
    pages = application(
        readiness=parts.starting.readiness,
        metrics=lambda: metrics.render(metrics_folder),
        metrics_type=metrics.CONTENT_TYPE,
    )
    await stack.enter_async_context(serving(pages, listener))
    config, ledger = parent.in_force.loaded.config, parts.store.ledger
    controllers = await stack.enter_async_context(
        controlling(config, parent.in_force, parts.rotation, parts.publication, ledger, parts.clock)
    )
    status = Status(
        in_force=parent.in_force,
        supervisor=parent.supervisor,
        rotation=parts.rotation,
        end_watch=parts.end_watch,
        adoptions=parts.store.adoption,
        started_at=parts.clock.now(),
        clock=parts.clock,
        kubernetes=controllers.report if controllers else None,
    )
    administration = Administration(
        config=config.admin, status=status.report, ledger=ledger, roots=parts.acts, clock=parts.clock
    )
    await stack.enter_async_context(admin_serving(config.admin_socket, administration))
    if config.admin.spiffe_ids:
        serving_workers = door_serving(config.workers_socket, administration, parent.supervisor.pids)
        await stack.enter_async_context(serving_workers)


def _beside(parts: _Parts) -> Mapping[str, Callable[[], Awaitable[None]]]:
    """Everything that runs beside the workers, by the name that the log and the metrics know it by."""
    rotation, clock = parts.rotation, parts.clock
    return {
        "watch": _watch(parts.parent, clock).run,
        "rotation": rotation.run,
        # Who has nothing to sign with takes no steps, and must not keep those who have from it.
        "leadership": functools.partial(parts.store.lead, lambda: rotation.progress.slot is not None),
        "end watch": parts.end_watch.run,
        "expiry": functools.partial(chores.show_expiry, rotation, parts.parent.in_force, clock),
        "prune": functools.partial(chores.prune, parts.store, parts.parent.in_force, clock),
    }


def _watch(parent: Parent, clock: Clock) -> Watch:
    """Follows the files that are taken live; what they say is what was loaded, however long ago that was."""
    in_force = parent.in_force
    watch = Watch(clock)
    watch.add(
        "admission",
        lambda: loading.admission_paths(in_force.loaded.config),
        parent.reload_admission,
        read=loading.admission_read(in_force.loaded),
    )
    watch.add(
        "policies",
        lambda: loading.policy_paths(in_force.loaded.config),
        parent.reload_policies,
        read=loading.policies_read(in_force.loaded),
    )
    return watch


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

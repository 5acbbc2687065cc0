"""Remote clusters, as kubeconfig Secrets come, change and go; none of them can hurt another.

Each has its own connection, its own watch and its own reviewer. One that is removed or replaced answers no new
question at once; what was asked before may end, and then its connection is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

from meshca.authn.cluster import Cluster, ClusterState, Reviewer
from meshca.background import running
from meshca.clock import Clock
from meshca.config.kubernetes import KubernetesConfig
from meshca.errors import ConfigError, Unauthenticated, Unavailable
from meshca.kube.api import Api
from meshca.kube.connection import connect_remote
from meshca.kube.informer import Informer
from meshca.kube.kubeconfig_secrets import KubeconfigSecret, Plan, Refused, Wanted, plan, read_secret
from meshca.kube.pods import WatchedPods
from meshca.log import log

MakeReviewer = Callable[[Api], Reviewer]
GRACE: Final = 2  # calls' timeouts, from a cluster's removal to the end of its connection


@dataclass(frozen=True, slots=True, kw_only=True)
class _Followed:
    wanted: Wanted
    cluster: Cluster
    pods: WatchedPods
    closing: contextlib.AsyncExitStack


class RemoteClusters:
    """Follows the kubeconfig Secrets of our namespace; `run` must be running.

    Args:
        api: of the home cluster.
        namespace: our own.
        config: label of the Secrets, and the timeout of calls.
        reserved: names that no remote cluster may have.
        clock: for pauses.
        make_reviewer: asks a cluster's API server about tokens.
    """

    def __init__(  # noqa: PLR0913 - the parts of a cluster, and what is reserved
        self,
        *,
        api: Api,
        namespace: str,
        config: KubernetesConfig,
        reserved: Collection[str],
        clock: Clock,
        make_reviewer: MakeReviewer,
    ) -> None:
        self._timeout = config.timeout
        self._reserved = frozenset(reserved)
        self._clock = clock
        self._make_reviewer = make_reviewer
        self._changed = asyncio.Event()
        self._secrets: Informer[KubeconfigSecret] = Informer(
            api,
            f"/api/v1/namespaces/{namespace}/secrets",
            read_secret,
            clock,
            selectors={"labelSelector": config.remote_clusters.label},
            changed=lambda _key, _value: self._changed.set(),
        )
        self._followed: dict[str, _Followed] = {}
        self._unusable: dict[str, Refused] = {}  # wanted, but their kubeconfig is not usable
        self._tried: dict[str, Wanted] = {}
        self._refused: tuple[Refused, ...] = ()
        self._retired: set[asyncio.Task[None]] = set()

    def named(self, name: str) -> Cluster:
        """The remote cluster of this name.

        Raises:
            Unauthenticated: reason `unknown_cluster`.
            Unavailable: reason `cluster`, when its kubeconfig is not usable or no Secret was read yet.
        """
        if (followed := self._followed.get(name)) is not None:
            return followed.cluster
        if (unusable := self._unusable.get(name)) is not None:
            raise Unavailable("cluster", f"{name}: {unusable.problem}")
        if not self._secrets.is_synced:
            raise Unavailable("cluster", "the kubeconfig Secrets of remote clusters have not been read yet")
        raise Unauthenticated("unknown_cluster", "the clusterid header names no cluster that is configured here")

    @property
    def problem(self) -> str:
        """Why the Secrets cannot be followed now; empty when they can."""
        return self._secrets.error.detail if self._secrets.error is not None else ""

    @property
    def states(self) -> tuple[ClusterState, ...]:
        """How each is, by name, those that are refused included."""
        states = [
            ClusterState(name=name, secret=one.wanted.secret, problem=one.pods.problem)
            for name, one in self._followed.items()
        ]
        states += [
            ClusterState(name=one.cluster_id, secret=one.secret, followed=False, problem=one.problem)
            for one in (*self._refused, *self._unusable.values())
        ]
        return tuple(sorted(states, key=lambda state: (state.name, state.secret)))

    async def run(self) -> None:
        """Follow for ever; on the way out everything is closed."""
        async with running("kubeconfig Secrets", self._secrets.run, self._clock):
            try:
                self._changed.set()  # also after this was begun again
                while True:
                    await self._changed.wait()
                    self._changed.clear()
                    await self._follow(plan(self._secrets.items.values(), self._reserved))
            finally:
                await self._close()

    async def _follow(self, wanted: Plan) -> None:
        self._tell(wanted.refused)
        for name in [name for name, tried in self._tried.items() if wanted.wanted.get(name) != tried]:
            self._forget(name, gone=name not in wanted.wanted)
        for name, one in wanted.wanted.items():
            if name not in self._tried:
                await self._open(name, one)

    def _tell(self, refused: tuple[Refused, ...]) -> None:
        """Log what is refused, once for each cause."""
        for one in refused:
            if one not in self._refused:
                _warn(one)
        self._refused = refused

    async def _open(self, name: str, wanted: Wanted) -> None:
        self._tried[name] = wanted
        async with contextlib.AsyncExitStack() as stack:
            try:
                api = await stack.enter_async_context(
                    connect_remote(wanted.kubeconfig.reveal(), name, self._timeout)
                )
            except ConfigError as error:
                self._give_up(name, wanted, "; ".join(error.problems))
                return
            except Exception as error:  # noqa: BLE001 - a stranger's text; whatever it does, the others go on
                self._give_up(name, wanted, f"the kubeconfig cannot be used ({type(error).__name__})")
                return
            pods = WatchedPods(api, self._clock, self._timeout)
            await stack.enter_async_context(running("pods of a remote cluster", pods.run, self._clock))
            cluster = Cluster(name=name, reviewer=self._make_reviewer(api), pods=pods)
            self._followed[name] = _Followed(wanted=wanted, cluster=cluster, pods=pods, closing=stack.pop_all())
            log.info("kube.cluster_added", cluster=name, secret=wanted.secret)

    def _give_up(self, name: str, wanted: Wanted, problem: str) -> None:
        self._unusable[name] = Refused(secret=wanted.secret, cluster_id=name, problem=problem)
        _warn(self._unusable[name])

    def _forget(self, name: str, *, gone: bool) -> None:
        del self._tried[name]
        self._unusable.pop(name, None)
        if (followed := self._followed.pop(name, None)) is not None:
            if gone:
                log.info("kube.cluster_removed", cluster=name, secret=followed.wanted.secret)
            task = asyncio.create_task(self._retire(followed))
            self._retired.add(task)
            task.add_done_callback(self._retired.discard)

    async def _retire(self, followed: _Followed) -> None:
        """Close a connection once every call that uses it must have ended."""
        try:
            await self._clock.sleep(GRACE * self._timeout.total_seconds())
        finally:
            await followed.closing.aclose()

    async def _close(self) -> None:
        for name in list(self._tried):
            self._forget(name, gone=False)
        await asyncio.sleep(0)  # so that each has begun, and closes when it is cancelled
        for task in list(self._retired):
            task.cancel()
        await asyncio.gather(*self._retired, return_exceptions=True)


def _warn(refused: Refused) -> None:
    log.warning("kube.cluster_refused", cluster=refused.cluster_id, secret=refused.secret, detail=refused.problem)

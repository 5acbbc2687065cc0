"""The pods of one cluster: a watch that answers at once, and the API server where the watch cannot be trusted.

A "yes" comes from the watch only while it works; a "no" never does: what the watch does not know yet, or knows
otherwise, is asked for, so that a pod's first second is like any other. Asking is bounded, and equal questions
are asked once. What node proxies ask about nodes must never keep a caller's own pod from being found.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import sys
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from datetime import timedelta
from types import MappingProxyType
from typing import Final
from urllib.parse import quote

from meshca.authn.claims import MAX_LABELS
from meshca.authn.cluster import Pod
from meshca.clock import Clock
from meshca.errors import BadRequest, NotFound, Unavailable
from meshca.identity.caller import NO_LABELS
from meshca.identity.service_account import ServiceAccount
from meshca.kube.api import Api, Tree
from meshca.kube.informer import Informer

PATH: Final = "/api/v1/pods"
FINISHED: Final = frozenset({"Succeeded", "Failed"})  # PodPhase: no container runs, and none will again
WATCH_SECONDS: Final = 60.0  # after which at the latest a watch that hangs is no longer believed
MAX_PODS: Final = 200_000  # Kubernetes is built for 150,000 (its "Considerations for large clusters")
AT_ONCE: Final = 16  # questions of a kind under way
WAITING: Final = 1_000  # distinct questions of a kind, those under way included
LARGEST_POD: Final = 4 * 1024 * 1024  # bytes of an answer about one
# The longest that Kubernetes has: a name, and a label's name with its prefix and slash (IsQualifiedName).
_LONGEST: Final = 253 + 1 + 63


def read_pod(item: Tree) -> Pod | None:
    """What we keep of a pod; None for one that has no service account, such as a static pod's mirror.

    Raises:
        Unavailable: reason `kube_answer`, when it is not what an API server calls a pod.
    """
    try:
        return _pod(item)
    except (KeyError, TypeError, AttributeError):
        raise Unavailable("kube_answer", "a pod is not written as an API server writes it") from None


def _pod(item: Tree) -> Pod | None:
    metadata, spec = item["metadata"], item["spec"]
    account = _account(_text(metadata["namespace"]), _text(spec.get("serviceAccountName") or ""))
    if account is None:
        return None
    return Pod(
        account=account,
        name=_text(metadata["name"]),
        uid=_text(metadata["uid"]),
        node=sys.intern(_text(spec.get("nodeName") or "")),
        finished=(item.get("status") or {}).get("phase") in FINISHED,
        labels=_labels(metadata.get("labels")),
    )


@functools.lru_cache(maxsize=16_384)  # so that the pods of an account share one value
def _account(namespace: str, name: str) -> ServiceAccount | None:
    try:
        return ServiceAccount(namespace=namespace, name=name)
    except BadRequest:
        return None


def _labels(found: Mapping[str, str] | None) -> Mapping[str, str]:
    """One more than a caller may have stands for all that are left out: who reads it refuses such a pod."""
    if not found:
        return NO_LABELS
    kept = itertools.islice(found.items(), MAX_LABELS + 1)
    return MappingProxyType({sys.intern(_text(key)): _text(value) for key, value in kept})


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > _LONGEST:
        raise TypeError(f"expected a string of at most {_LONGEST} characters")
    return value


class PodIndex:
    """Unfinished pods by node and account. Told every change, it holds what a rebuild from all pods would."""

    def __init__(self) -> None:
        self._places: dict[str, tuple[str, ServiceAccount]] = {}
        self._pods: dict[tuple[str, ServiceAccount], dict[str, Pod]] = {}

    def put(self, key: str, pod: Pod | None) -> None:
        """The pod of this key is now so; None when it is gone."""
        if (before := self._places.pop(key, None)) is not None:
            beside = self._pods[before]
            del beside[key]
            if not beside:
                del self._pods[before]
        if pod is not None and pod.node and not pod.finished:
            place = pod.node, pod.account
            self._places[key] = place
            self._pods.setdefault(place, {})[key] = pod

    def on_node(self, node: str, account: ServiceAccount) -> tuple[Pod, ...]:
        """The unfinished pods of this account on this node."""
        return tuple(self._pods.get((node, account), {}).values())

    def __len__(self) -> int:
        return len(self._places)


class WatchedPods:
    """The port `authn.cluster.Pods` over a watch; `run` must be running.

    Args:
        api: of the cluster.
        clock: for the patience.
        patience: how long a question waits for the first read of all pods.
        max_pods: of which the watch keeps account; others are asked for each time.
    """

    def __init__(self, api: Api, clock: Clock, patience: timedelta, *, max_pods: int = MAX_PODS) -> None:
        self._api = api
        self._clock = clock
        self._patience = patience.total_seconds()
        self._index = PodIndex()
        self._informer = Informer(
            api, PATH, read_pod, clock, changed=self._index.put, seconds=WATCH_SECONDS, most=max_pods
        )
        self._about_pods, self._about_nodes = _Questions(api.name), _Questions(api.name)

    @property
    def was_read(self) -> bool:
        """Whether all pods were read, ever."""
        return self._informer.is_synced

    @property
    def problem(self) -> str:
        """Why the watch does not work now; empty when it does."""
        if self._informer.error is not None:
            return self._informer.error.detail
        return "" if self._informer.is_synced else "the pods have not been read yet"

    async def run(self) -> None:
        """Follow for ever."""
        await self._informer.run()

    async def find(self, namespace: str, name: str, uid: str) -> Pod | None:
        """The pod of this name and uid, asked for when the watch does not work or does not know it.

        Raises:
            Unavailable: it cannot be asked for, or too much is asked already.
        """
        await self._first_read()
        known = self._informer.items.get(f"{namespace}/{name}")
        if known is not None and known.uid == uid and self._works:
            return known
        ask = functools.partial(self._ask, namespace, name)
        found = await self._about_pods.answer((namespace, name, uid), ask)
        wanted = namespace, name, uid
        return next((pod for pod in found if (pod.account.namespace, pod.name, pod.uid) == wanted), None)

    async def on_node(self, node: str, account: ServiceAccount) -> Sequence[Pod]:
        """The unfinished pods of this account on this node, asked for when the watch does not work or knows none.

        Raises:
            Unavailable: they cannot be asked for, or too much is asked already.
        """
        if not node:
            return ()  # nowhere: of pods that are not scheduled nobody is the node
        await self._first_read()
        if self._works and (known := self._index.on_node(node, account)):
            return known
        ask = functools.partial(self._ask_node, node, account.namespace)
        found = await self._about_nodes.answer((node, account.namespace), ask)
        return [pod for pod in found if not pod.finished and (pod.node, pod.account) == (node, account)]

    @property
    def _works(self) -> bool:
        return self._informer.is_synced and not self._informer.failing

    async def _first_read(self) -> None:
        """Wait for the first read of all pods: no longer than patience, and not once it has failed."""
        if self._informer.is_synced or self._informer.failing:
            return
        either = [asyncio.ensure_future(self._informer.tried()), asyncio.ensure_future(self._pause())]
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in either:
                each.cancel()

    async def _pause(self) -> None:
        await self._clock.sleep(self._patience)

    async def _ask(self, namespace: str, name: str) -> Sequence[Pod]:
        try:
            item = await self._api.get(f"{_pods_of(namespace)}/{quote(name, safe='')}", largest=LARGEST_POD)
        except NotFound:
            return ()
        return _read_all([item])

    async def _ask_node(self, node: str, namespace: str) -> Sequence[Pod]:
        answer = await self._api.get(_pods_of(namespace), {"fieldSelector": f"spec.nodeName={node}"})
        return _read_all(answer.get("items") or ())


def _pods_of(namespace: str) -> str:
    return f"/api/v1/namespaces/{quote(namespace, safe='')}/pods"


def _read_all(items: Sequence[Tree]) -> Sequence[Pod]:
    return [pod for pod in map(read_pod, items) if pod is not None]


class _Questions:
    """Asks an API server: equal questions once, few at a time, and no more than may wait."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._places = asyncio.Semaphore(AT_ONCE)
        self._under_way: dict[Hashable, asyncio.Future[Sequence[Pod]]] = {}

    async def answer(self, question: Hashable, ask: Callable[[], Awaitable[Sequence[Pod]]]) -> Sequence[Pod]:
        """The answer, shared with everybody who asks the same meanwhile.

        Raises:
            Unavailable: as `ask`, or reason `kube_busy`.
        """
        task = self._under_way.get(question)
        if task is None:
            if len(self._under_way) >= WAITING:
                raise Unavailable("kube_busy", f"{self._name}: {WAITING} questions about pods wait already")
            task = self._under_way[question] = asyncio.ensure_future(self._asked(ask))
            task.add_done_callback(functools.partial(self._forget, question))
        return await asyncio.shield(task)  # whoever began it may leave, the others still wait

    async def _asked(self, ask: Callable[[], Awaitable[Sequence[Pod]]]) -> Sequence[Pod]:
        async with self._places:
            return await ask()

    def _forget(self, question: Hashable, task: asyncio.Future[Sequence[Pod]]) -> None:
        del self._under_way[question]
        if not task.cancelled():
            task.exception()  # nobody may be left to hear of it

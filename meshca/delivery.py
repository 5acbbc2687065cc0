"""What each subscriber should hold: the mesh's roots, the policies of its own workload, and orders to renew.

A subscriber is known by its proven namespace and labels only. Streams that share them share one shelf, so a
change is compiled once for each kind of workload and wakes each stream once. Nothing is withdrawn: what was
published last stays until something better is, and a filter that agents would refuse is none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from weakref import WeakValueDictionary

from meshca.authz.compile import compile_rbac
from meshca.authz.model import PolicySet, Workload
from meshca.clock import Clock
from meshca.config.resource_names import (
    EXTENSION_TYPE_URL,
    LARGEST_POLICIES,
    ORDER_TYPE_URL,
    ROOTCA,
    SECRET_TYPE_URL,
)
from meshca.discovery import resources
from meshca.discovery.order import NO_ORDER, RenewalOrder
from meshca.discovery.resources import TrustBundle
from meshca.discovery.source import Shelf, Source
from meshca.log import log

Compile = Callable[[PolicySet, Workload], bytes]
_Kind = tuple[str, str, frozenset[tuple[str, str]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Versions:
    """Content hashes of what is in force here; empty before the first."""

    roots: str = ""
    policies: str = ""


class Delivery:
    """Holds what was published last, and a shelf for each kind of workload that has a subscriber.

    Args:
        clock: lets other work go on between the workloads of a large mesh.
        compile_: makes a workload's filter out of all policies.
    """

    def __init__(self, clock: Clock, compile_: Compile = compile_rbac) -> None:
        self._clock = clock
        self._compile = compile_
        self._bundle: TrustBundle | None = None
        self._policies: PolicySet | None = None
        self._order = NO_ORDER
        self._shelves: WeakValueDictionary[_Kind, _WorkloadShelf] = WeakValueDictionary()
        self._roots_version = ""

    @property
    def versions(self) -> Versions:
        """Of what is in force now; that of a large set of policies takes a moment."""
        policies = "" if self._policies is None else policies_version(self._policies)
        return Versions(roots=self._roots_version, policies=policies)

    @property
    def order(self) -> RenewalOrder:
        """Which leaves are to be replaced now."""
        return self._order

    def source(self, workload: Workload) -> Source:
        """What this workload should hold, now and after every change.

        Before the first publication its names stay pending: an Envoy denies everything until its first
        policies arrive.
        """
        kind = (workload.namespace, workload.trust_domain.name, frozenset(workload.labels.items()))
        shelf = self._shelves.get(kind)
        if shelf is None:
            shelf = self._shelves[kind] = _WorkloadShelf(workload)
            self._put_roots(shelf)
            self._put_policies(shelf)
            self._put_order(shelf)
        return shelf

    def publish_roots(self, bundle: TrustBundle) -> None:
        """Hand these roots to every subscriber."""
        self._bundle = bundle
        self._roots_version = resources.roots(ROOTCA, bundle).version
        for shelf in tuple(self._shelves.values()):
            self._put_roots(shelf)

    def publish_order(self, order: RenewalOrder) -> None:
        """Tell every subscriber which leaves are to be replaced; the one before is forgotten."""
        self._order = order
        for shelf in tuple(self._shelves.values()):
            self._put_order(shelf)

    async def publish_policies(self, policies: PolicySet) -> None:
        """Hand each subscriber its part of these policies; who subscribes meanwhile gets them at once.

        A later call goes past an earlier one that is still busy.
        """
        self._policies = policies
        for shelf in tuple(self._shelves.values()):
            if self._policies is not policies:
                return
            self._put_policies(shelf)
            await self._clock.sleep(0)

    def _put_roots(self, shelf: _WorkloadShelf) -> None:
        if self._bundle is not None:
            names = (ROOTCA, shelf.workload.trust_domain.id)
            shelf.put(SECRET_TYPE_URL, [resources.roots(name, self._bundle) for name in names])

    def _put_order(self, shelf: _WorkloadShelf) -> None:
        shelf.put(ORDER_TYPE_URL, [resources.order(self._order)])

    def _put_policies(self, shelf: _WorkloadShelf) -> None:
        if self._policies is not None:
            body = self._compile(self._policies, shelf.workload)
            if len(body) > LARGEST_POLICIES:  # `authz.fits` lets in no such set
                namespace = shelf.workload.namespace
                log.error("delivery.policies_too_large", namespace=namespace, size=len(body))
                return
            shelf.put(EXTENSION_TYPE_URL, [resources.policies(body)])


def policies_version(policies: PolicySet) -> str:
    """A content hash of a whole set; each workload's own filter has a version of its own."""
    return hashlib.sha256(repr(policies).encode()).hexdigest()[:32]


class _WorkloadShelf(Shelf):
    """The shelf of one kind of workload; it lives as long as a stream holds it."""

    def __init__(self, workload: Workload) -> None:
        super().__init__()
        self.workload = workload

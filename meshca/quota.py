"""Token buckets per identity and per namespace, so that one noisy workload can not starve the mesh.

Pure: the caller hands the time in. A request is charged to both buckets or to neither. Renewals may dip into
a share that first issues leave alone: a mesh under pressure keeps what runs before it starts more. Each worker
process has its own buckets, so each gets its share of the configured rates.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final

from meshca.errors import Exhausted
from meshca.identity.caller import Caller
from meshca.identity.spiffe_id import SpiffeId

RENEWAL_SHARE: Final = 0.2  # of a burst; first issues stop above it, renewals go on to the bottom
# Requests of a node proxy to one of an identity: it asks for all workloads of its node at once.
PER_ASKER: Final = 10
SMALLEST_SHARE: Final = 10  # requests of a worker's burst
MAX_TRACKED: Final = 50_000  # buckets of each kind, about 200 bytes each; the longest unused is forgotten first
_ROUNDING: Final = 1e-3  # tokens; lent, never given: rounding of the clock must not break a retry hint


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """How fast a bucket fills, and how much it holds.

    Attributes:
        per_second: tokens added each second, above 0.
        burst: tokens that a full bucket holds, at least 1.
    """

    per_second: float
    burst: int

    def share(self, parts: int) -> Rate:
        """The rate of one of so many equal workers; a burst is cut to no less than SMALLEST_SHARE requests.

        A caller's connection stays with one worker, which must bear a small burst alone.
        """
        return Rate(
            per_second=self.per_second / parts,
            burst=max(self.burst // parts, min(self.burst, SMALLEST_SHARE)),
        )


class _Buckets:
    """Levels by key; a key not seen for long is forgotten, which is the same as a full bucket."""

    def __init__(self, rate: Rate, tracked: int) -> None:
        self.rate = rate
        # min: with a burst of one there is nothing to reserve, and first issues must not be impossible.
        self._reserve = min(RENEWAL_SHARE * rate.burst, rate.burst - 1.0)
        self._tracked = tracked
        self._levels: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def wait(self, key: Hashable, now: float, *, renewal: bool) -> float:
        """Seconds until one token can be taken; 0 when it can be now."""
        needed = 1.0 if renewal else 1.0 + self._reserve
        missing = needed - self._level(key, now)
        return missing / self.rate.per_second if missing > _ROUNDING else 0.0

    def charge(self, key: Hashable, now: float) -> None:
        self._levels[key] = (self._level(key, now) - 1.0, now)
        self._levels.move_to_end(key)
        if len(self._levels) > self._tracked:
            self._levels.popitem(last=False)

    def _level(self, key: Hashable, now: float) -> float:
        level, at = self._levels.get(key, (float(self.rate.burst), now))
        return min(float(self.rate.burst), level + max(0.0, now - at) * self.rate.per_second)


class Quota:
    """The buckets of one process."""

    def __init__(self, *, per_identity: Rate, per_namespace: Rate, tracked: int = MAX_TRACKED) -> None:
        self._identities = _Buckets(per_identity, tracked)
        self._namespaces = _Buckets(per_namespace, tracked)
        asking = Rate(per_second=per_identity.per_second * PER_ASKER, burst=per_identity.burst * PER_ASKER)
        self._askers = _Buckets(asking, tracked)

    def take(self, identity: SpiffeId, now: float, *, renewal: bool = False, issuer: str = "") -> None:
        """Charge one issuance to an identity and to its namespace.

        Args:
            identity: a workload's identity of the form /ns/<namespace>/sa/<service account>.
            now: monotonic seconds; a clock that goes back adds nothing.
            renewal: whether the caller is proven by the certificate that it renews.
            issuer: whose callers have buckets of their own; empty for those that all issuers share.

        Raises:
            Exhausted: reason `identity_quota` or `namespace_quota`; nothing was charged, and after
                `retry_after` seconds the same request succeeds if no other came between.
            BadRequest: reason `spiffe_id`, when the identity has another form.
        """
        name, namespace = str(identity), identity.service_account().namespace
        identity_wait = self._identities.wait((issuer, name), now, renewal=renewal)
        namespace_wait = self._namespaces.wait((issuer, namespace), now, renewal=renewal)
        retry_after = max(identity_wait, namespace_wait)
        if identity_wait:
            raise Exhausted("identity_quota", _detail(name, self._identities.rate), retry_after=retry_after)
        if namespace_wait:
            raise Exhausted("namespace_quota", _detail(namespace, self._namespaces.rate), retry_after=retry_after)
        self._identities.charge((issuer, name), now)
        self._namespaces.charge((issuer, namespace), now)

    def ask(self, asker: Caller, now: float) -> None:
        """Charge one request for others' identities to the pod that asks: its account is that of all nodes.

        Raises:
            Exhausted: reason `node_proxy_quota`; nothing was charged.
        """
        pod = asker.pod.uid if asker.pod else ""
        key = (asker.issuer, asker.account, pod)
        # No reserve: a first request is as good as a later one.
        if retry_after := self._askers.wait(key, now, renewal=True):
            detail = _detail(f"pod {pod or '(none)'} of {asker.account}", self._askers.rate)
            raise Exhausted("node_proxy_quota", detail, retry_after=retry_after)
        self._askers.charge(key, now)


def _detail(key: str, rate: Rate) -> str:
    return f"{key} is over {rate.per_second:g} requests a second with a burst of {rate.burst}"

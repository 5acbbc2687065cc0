"""The kubernetes library's own lock over a Lease, speaking through our one sender.

The library's election is not used: it compares wall clocks, has no fence and never gives the lease back. Of its
lock two things are mended here. It swallows why a call failed and writes that to `logging`; here every failure
is an error of our tree. And it spells a time without a fraction when the microsecond is 0, in what it writes and
in what it has read from others, which the API server refuses (MicroTime wants six digits).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from kubernetes.aio.client import V1Lease, V1LeaseSpec, V1ObjectMeta
from kubernetes.aio.leaderelection.leaderelectionrecord import LeaderElectionRecord
from kubernetes.aio.leaderelection.resourcelock.baselock import BaseLock
from kubernetes.aio.leaderelection.resourcelock.leaselock import LeaseLock

from meshca.kube.api import Api, Tree
from meshca.kube.lease import Record

_LIBRARY: Final = "%Y-%m-%d %H:%M:%S.%f"  # how the library's election record spells an instant, in UTC
_MICRO: Final = "%Y-%m-%dT%H:%M:%S.%fZ"  # metav1.MicroTime


class KubeLock:
    """Implements `kube.lease.Lock` by one Lease of a namespace."""

    def __init__(self, api: Api, namespace: str, name: str, identity: str) -> None:
        self._namespace = namespace
        self._name = name
        self._leases = _Leases(api)
        self._lock = _LibraryLock(name, namespace, identity, self._leases)

    async def read(self) -> Record:
        """What it says now."""
        found, said = await self._lock.get(self._name, self._namespace)
        assert found  # noqa: S101 - what is no success was raised by our own sender
        assert isinstance(said, LeaderElectionRecord)  # noqa: S101 - as above
        spec = self._reference.spec
        return Record(
            holder=said.holder_identity or "",
            duration=int(said.lease_duration or 0),
            acquired=spec.acquire_time,
            renewed=spec.renew_time,
            transitions=spec.lease_transitions or 0,
        )

    async def create(self, record: Record) -> None:
        """Make it."""
        await self._lock.create(self._name, self._namespace, _library(record))

    async def update(self, record: Record) -> None:
        """Change it, if it is still as it was last read."""
        spec = self._reference.spec
        spec.lease_transitions = record.transitions
        if record.holder:
            await self._lock.update(self._name, self._namespace, _library(record))
            return
        spec.holder_identity, spec.lease_duration_seconds = "", record.duration  # the library knows no release
        await self._leases.replace_namespaced_lease(self._name, self._namespace, self._reference)

    @property
    def _reference(self) -> Any:  # noqa: ANN401 - the library's model has no types
        return self._lock.lease_reference


class _LibraryLock(LeaseLock):
    """The library's lock with our sender in the place of its client."""

    def __init__(self, name: str, namespace: str, identity: str, leases: _Leases) -> None:
        BaseLock.__init__(self, name, namespace, identity)
        self.api_instance = leases  # type: ignore[assignment] # it has the three calls that are made
        self.lease_reference = None


class _Leases:
    """The three calls that the library's lock makes; failures are errors of our tree, which it lets through."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._tree: Tree = {}

    async def read_namespaced_lease(self, name: str, namespace: str) -> V1Lease:
        """Read, and remember what the library's model leaves out."""
        self._tree = await self._api.get(f"{_path(namespace)}/{name}")
        spec = self._tree.get("spec") or {}
        return V1Lease(
            metadata=V1ObjectMeta(name=name, namespace=namespace),
            spec=V1LeaseSpec(
                holder_identity=spec.get("holderIdentity"),
                lease_duration_seconds=spec.get("leaseDurationSeconds"),
                acquire_time=_instant(spec.get("acquireTime")),
                renew_time=_instant(spec.get("renewTime")),
                lease_transitions=spec.get("leaseTransitions"),
            ),
        )

    async def create_namespaced_lease(self, namespace: str, body: Any, **_: object) -> None:  # noqa: ANN401 - a V1Lease
        """Create."""
        made = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": body.metadata.name}}
        await self._api.create(_path(namespace), {**made, "spec": _spec(body)})

    async def replace_namespaced_lease(self, name: str, namespace: str, body: Any) -> None:  # noqa: ANN401 - as above
        """Replace what was read last, if nobody else did meanwhile; fields that are not ours stay."""
        spec = {**(self._tree.get("spec") or {}), **_spec(body)}
        await self._api.replace(f"{_path(namespace)}/{name}", {**self._tree, "spec": spec})


def _path(namespace: str) -> str:
    return f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"


def _library(record: Record) -> LeaderElectionRecord:
    return LeaderElectionRecord(record.holder, str(record.duration), _text(record.acquired), _text(record.renewed))


def _text(at: datetime | None) -> str:
    return "" if at is None else at.astimezone(UTC).strftime(_LIBRARY)


def _instant(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _spec(body: Any) -> dict[str, object]:  # noqa: ANN401 - a V1Lease, whose fields are all optional
    spec = body.spec
    said = {
        "holderIdentity": spec.holder_identity,
        "leaseDurationSeconds": spec.lease_duration_seconds,
        "acquireTime": _micro(spec.acquire_time),
        "renewTime": _micro(spec.renew_time),
        "leaseTransitions": spec.lease_transitions or 0,
    }
    return {name: value for name, value in said.items() if value is not None}


def _micro(at: datetime | str | None) -> str | None:
    """An instant as MicroTime; the library gives a datetime that it has read, or text that it has made."""
    if at is None:
        return None
    read = datetime.fromisoformat(at) if isinstance(at, str) else at
    return read.astimezone(UTC).strftime(_MICRO)

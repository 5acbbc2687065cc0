"""What a server says of its work for a cluster: part of `rpc.status_report`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectReport:
    """One object that is not as it should be, and why."""

    name: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedReport:
    """Objects that hold the roots; all 0 while another replica writes them.

    Attributes:
        in_sync: that do.
        pending: that do not yet.
        failing: that the API server does not take.
        contested: that somebody else changes again and again, or that hold what must not be replaced.
        problems: the first of the last two.
        error: why nothing can be seen or written; empty when it can.
    """

    in_sync: int
    pending: int
    failing: int
    contested: int
    problems: tuple[ObjectReport, ...]
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KubernetesReport:
    """The work for a cluster that one replica does.

    Attributes:
        leading: whether this one does it.
        holder: who does; empty when nobody does, or nothing is known.
        election_error: why the lease cannot be used; empty when it can.
        left_out: certificates among the roots that are not published, and why.
        config_maps: the roots in ConfigMaps; None when that is not configured.
        bundle: the roots as a ClusterTrustBundle; None when that is not configured.
        bundle_version: of the API that is used for it; empty when the cluster has none.
        istiod_secret: namespace/name of istiod's certificate; empty when that is not configured.
        istiod_not_after: when it ends; None when it is not known.
        istiod_error: why it cannot be renewed; empty when it can.
        rival: the replica that writes while this one keeps a store of its own; empty when there is none.
    """

    leading: bool
    holder: str
    election_error: str = ""
    left_out: tuple[str, ...] = ()
    config_maps: PublishedReport | None = None
    bundle: PublishedReport | None = None
    bundle_version: str = ""
    istiod_secret: str = ""
    istiod_not_after: datetime | None = None
    istiod_error: str = ""
    rival: str = ""

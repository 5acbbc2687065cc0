"""Which remote clusters are wanted: read from labelled Secrets, decided here, purely.

Each data key of a Secret is a cluster id and its value a kubeconfig (Istio's layout). An id becomes the issuer
that admission rules see, so one that means home or another issuer is refused: its cluster could speak for it.
Of two Secrets that give the same id the older counts, so that a new one cannot take a cluster over.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from meshca.kube.api import Tree
from meshca.secret import Secret

_LABEL: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")  # RFC 1123, as `config.kubernetes.ClusterName`
NOT_A_LABEL: Final = "a cluster id must be a DNS-1123 label of at most 63 characters to be an issuer's name"
RESERVED: Final = "this name means the home cluster or another issuer; give the cluster an id of its own"
TAKEN: Final = "an older Secret gives this cluster id already; remove one of them"
EMPTY: Final = "the value is empty or not base64; a kubeconfig is expected"


@dataclass(frozen=True, slots=True, kw_only=True)
class KubeconfigSecret:
    """A Secret that holds kubeconfigs.

    Attributes:
        name: of the Secret.
        created: when, as the API server writes it; sorts by time.
        kubeconfigs: by cluster id, unverified.
    """

    name: str
    created: str
    kubeconfigs: Mapping[str, Secret[bytes]] = field(hash=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A remote cluster that shall be reached.

    Attributes:
        secret: name of the Secret that says so.
        kubeconfig: unverified.
    """

    secret: str
    kubeconfig: Secret[bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A data key of a Secret that is not followed, and why; `cluster_id` is whatever the key says."""

    secret: str
    cluster_id: str
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What all Secrets together mean.

    Attributes:
        wanted: by cluster id.
        refused: in the order of the Secrets.
    """

    wanted: Mapping[str, Wanted]
    refused: tuple[Refused, ...]


def read_secret(item: Tree) -> KubeconfigSecret:
    """What we keep of a Secret."""
    metadata = item["metadata"]
    data = item.get("data") or {}
    return KubeconfigSecret(
        name=metadata["name"],
        created=metadata.get("creationTimestamp") or "",
        kubeconfigs={key: Secret(_decoded(value)) for key, value in data.items()},
    )


def plan(secrets: Iterable[KubeconfigSecret], reserved: Collection[str]) -> Plan:
    """The clusters that these Secrets ask for.

    Args:
        secrets: in any order.
        reserved: names that no remote cluster may have.
    """
    wanted: dict[str, Wanted] = {}
    refused: list[Refused] = []
    for secret in sorted(secrets, key=lambda one: (one.created, one.name)):
        for cluster_id, kubeconfig in sorted(secret.kubeconfigs.items(), key=lambda one: one[0]):
            if problem := _problem(cluster_id, kubeconfig, reserved, wanted):
                refused.append(Refused(secret=secret.name, cluster_id=cluster_id, problem=problem))
            else:
                wanted[cluster_id] = Wanted(secret=secret.name, kubeconfig=kubeconfig)
    return Plan(wanted=wanted, refused=tuple(refused))


def _problem(
    cluster_id: str, kubeconfig: Secret[bytes], reserved: Collection[str], wanted: Collection[str]
) -> str:
    if cluster_id in reserved:
        return RESERVED
    if not _LABEL.fullmatch(cluster_id):
        return NOT_A_LABEL
    if cluster_id in wanted:
        return TAKEN
    return "" if kubeconfig.reveal() else EMPTY


def _decoded(value: str | None) -> bytes:
    try:
        return base64.b64decode(value or "", validate=True)
    except binascii.Error:
        return b""

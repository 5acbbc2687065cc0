"""The checks of `meshca doctor`, in the order in which a mesh moves to meshca: tables, nothing else.

They follow what an agent of Istio needs of a CA: reach it by a name, prove it by the published roots, be proven by
a token, and be answered with the identity that the mesh means.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from meshca.doctor.endpoint import endpoint
from meshca.doctor.finding import Said
from meshca.doctor.issuance import issuance
from meshca.doctor.istiod import audience, ca_address, ca_server, cluster_id, trust_domain
from meshca.doctor.istiod_certificate import istiod_certificate
from meshca.doctor.reach import api_server, clock_skew
from meshca.doctor.rights import permissions
from meshca.doctor.root_config_map import root_config_map
from meshca.doctor.root_life import HasRoots, root_expiry, root_retired, root_rotation
from meshca.doctor.site import Site
from meshca.doctor.ztunnel import ztunnel

ROOT_CHECKS: Final[Mapping[str, Callable[[HasRoots], Awaitable[Said]]]] = {
    "root-expiry": root_expiry,
    "root-rotation": root_rotation,
}
"""Those that need a running server and no cluster."""

CHECKS: Final[Mapping[str, Callable[[Site], Awaitable[Said]]]] = {
    "api-server": api_server,
    "clock": clock_skew,
    "permissions": permissions,
    "endpoint": endpoint,
    "issuance": issuance,
    "root-config-map": root_config_map,
    **ROOT_CHECKS,
    "root-retired": root_retired,
    "trust-domain": trust_domain,
    "audience": audience,
    "cluster-id": cluster_id,
    "ca-address": ca_address,
    "istiod-certificate": istiod_certificate,
    "istiod-ca-server": ca_server,
    "ztunnel": ztunnel,
}

"""The roots that proxies are given: what checks of certificates compare with."""

from __future__ import annotations

from typing import Final

from meshca.doctor.certificates import Certificates, read_pem
from meshca.doctor.finding import Unseen
from meshca.doctor.permission import Permission
from meshca.doctor.site import Site

SEE: Final = "see what `root-config-map` says"


async def published(site: Site, namespace: str = "") -> Certificates:
    """The roots in the ConfigMap of a namespace.

    Args:
        site: with the ConfigMap's name and key.
        namespace: whose; istiod's by default, where istiod itself mounts it.

    Raises:
        Unseen: it cannot be read, is not there, or holds no certificate.
    """
    maps = site.kubernetes.root_config_map
    place = namespace or site.place.namespace
    found = await site.looking.read(
        Permission(
            verb="get", resource="configmaps", namespace=place, name=maps.name, value="rootConfigMap.enabled"
        )
    )
    what = f"ConfigMap {maps.name} in {place}"
    if found is None:
        raise Unseen(f"there is no {what}", SEE)
    roots = read_pem(str((found.get("data") or {}).get(maps.key, "")))
    if not roots:
        raise Unseen(f"{what} has no certificate under {maps.key}", SEE)
    return roots

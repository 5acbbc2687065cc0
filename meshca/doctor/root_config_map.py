"""The ConfigMap of roots in every selected namespace: there, with its key, and equal to what the CA serves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from meshca.config.kubernetes import RootConfigMapConfig
from meshca.doctor.certificates import Certificates, fingerprints, living, read_der, read_pem
from meshca.doctor.endpoint import shown
from meshca.doctor.finding import Said, Unseen, ok, some, unknown, wrong
from meshca.doctor.issuance import issued
from meshca.doctor.permission import Permission
from meshca.doctor.site import Site
from meshca.errors import MeshcaError
from meshca.kube.api import Tree

OURS = "meshca"  # the field manager of our controller


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """The roots of the CA.

    Attributes:
        roots: those known.
        complete: whether there are no others.
    """

    roots: Certificates
    complete: bool


async def root_config_map(site: Site) -> Said:
    """Every namespace has them."""
    found = await maps_of(site)
    served = await _served(site)
    if not served.roots:
        return unknown(
            "the CA's roots are not known, so the ConfigMaps cannot be compared", "see what `endpoint` says"
        )
    wanted = fingerprints(living(served.roots, site.clock.now()))
    exact = served.complete and site.kubernetes.root_config_map.enabled
    return judge(found, wanted, exact=exact, config=site.kubernetes.root_config_map)


def judge(
    found: Mapping[str, Tree | None], wanted: frozenset[str], *, exact: bool, config: RootConfigMapConfig
) -> Said:
    """What the ConfigMaps are worth.

    Args:
        found: namespace -> its ConfigMap, None where it is missing.
        wanted: fingerprints of the roots that must be there.
        exact: whether no others may be.
        config: with name and key.
    """
    missing = [namespace for namespace, item in found.items() if item is None]
    present = {namespace: item for namespace, item in found.items() if item is not None}
    keyless = [namespace for namespace, item in present.items() if not text_of(item, config.key)]
    differing = [
        namespace
        for namespace, item in present.items()
        if text_of(item, config.key) and not _agrees(text_of(item, config.key), wanted, exact=exact)
    ]
    problems = [
        f"{what} {len(names)} of {len(found)} namespaces ({some(names)})"
        for what, names in (
            ("missing in", missing),
            (f"without the key {config.key} in", keyless),
            ("not the CA's roots in", differing),
        )
        if names
    ]
    if not problems:
        return ok(f"{config.name} holds the CA's roots in all {len(found)} namespaces")
    writers = sorted(
        {name for each in differing + keyless for name in managers(present[each], config.key)} - {OURS}
    )
    return wrong(f"{config.name}: " + "; ".join(problems), *_mends(config, writers))


def _mends(config: RootConfigMapConfig, writers: list[str]) -> Iterator[str]:
    if not config.enabled:
        yield (
            "let meshca write it: kubernetes.root_config_map.enabled: true (chart value rootConfigMap.enabled), or"
            f" write it yourself, with the CA's root under {config.key}"
        )
    else:
        yield "one replica writes it within a second: see `permissions`, and `meshca status` for why none does"
    if "pilot-discovery" in writers:
        yield "istiod still writes it: see `istiod-ca-server`"
    if others := [name for name in writers if name != "pilot-discovery"]:
        see = f"kubectl get configmap {config.name} --show-managed-fields -o yaml"
        yield f"also written by {some(others)}: stop that ({see})"


def managers(item: Tree, key: str) -> Iterator[str]:
    """Who owns the key of a ConfigMap by its managedFields."""
    for entry in item["metadata"].get("managedFields") or ():
        fields: Mapping[str, Any] = (entry.get("fieldsV1") or {}).get("f:data") or {}
        if f"f:{key}" in fields:
            yield str(entry.get("manager", ""))[:128]


def text_of(item: Tree, key: str) -> str:
    """The roots in a ConfigMap; empty when there are none."""
    return str((item.get("data") or {}).get(key, ""))


def _agrees(text: str, wanted: frozenset[str], *, exact: bool) -> bool:
    found = fingerprints(read_pem(text))
    return found == wanted if exact else found >= wanted


async def _served(site: Site) -> Served:
    """From an issuance, where all of them are; else the one that the endpoint shows."""
    try:
        return Served(roots=read_pem((await issued(site)).roots), complete=True)
    except (MeshcaError, Unseen):
        pass
    try:
        handshake, _ = await shown(site)
    except MeshcaError:
        return Served(roots=(), complete=False)
    last = read_der(handshake.chain)[-1:]
    return Served(roots=tuple(one for one in last if one.issuer == one.subject), complete=False)


async def maps_of(site: Site) -> Mapping[str, Tree | None]:
    """The ConfigMap of each selected namespace.

    Raises:
        Unseen: they cannot be read.
    """
    config = site.kubernetes.root_config_map
    reading = Permission(verb="get", resource="configmaps", name=config.name, value="rootConfigMap.enabled")
    if config.namespaces:
        chosen = [name for name in dict.fromkeys(config.namespaces) if name not in config.except_]
        return {name: await site.looking.read(reading.at(name)) for name in chosen}
    listing = Permission(verb="list", resource="namespaces", value="rootConfigMap.enabled")
    namespaces = _items(await site.looking.read(listing))
    everywhere = Permission(verb="list", resource="configmaps", name=config.name, value="rootConfigMap.enabled")
    maps = _items(await site.looking.read(everywhere, {"fieldSelector": f"metadata.name={config.name}"}))
    by_namespace = {item["metadata"]["namespace"]: item for item in maps}
    return {name: by_namespace.get(name) for name in _living(namespaces) if name not in config.except_}


def _items(found: Tree | None) -> list[Tree]:
    return list((found or {}).get("items") or ())


def _living(namespaces: Iterable[Tree]) -> Iterator[str]:
    """Names of those that are not being deleted."""
    for item in namespaces:
        if "deletionTimestamp" not in item["metadata"]:
            yield item["metadata"]["name"]

"""The chart's Roles give what the doctor's table says that is needed, and nothing beyond."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
import yaml

from meshca.config.server import ServerConfig
from meshca.config.upstream import UpstreamConfig
from meshca.config.vault import VaultConfig
from meshca.doctor.needed import needed
from meshca.doctor.permission import Permission
from tests.e2e.kube.chart import only, rendered
from tests.e2e.kube.chart_values import CHOICES

pytestmark = pytest.mark.real("kubernetes")


@pytest.mark.parametrize("choice", CHOICES)
def test_rights_are_those_that_are_needed(choice: str) -> None:
    """What the Roles give is exactly what the doctor's table says that this configuration needs."""
    values: dict[str, Any] = {**CHOICES[choice], "doctor": {"enabled": False}}
    objects = rendered(**values)
    text = only(objects, "ConfigMap", "meshca")["data"]["meshca.yaml"]
    config = ServerConfig.model_validate(yaml.safe_load(text))
    assert config.kubernetes is not None
    asked = {
        each
        for upstream in _of_each_replica(config.upstream, values.get("replicas", 2))
        for each in needed(config.model_copy(update={"upstream": upstream}), config.kubernetes, "meshca-system")
    }
    theirs = {Right.of(each) for each in asked if each.resource and not _everybodys(each)}
    assert set(rights(objects)) == theirs


def _of_each_replica(upstream: UpstreamConfig, replicas: int) -> list[UpstreamConfig]:
    """As each pod has it: the name of its Secret is a variable there."""
    if not isinstance(upstream, VaultConfig):
        return [upstream]
    names = (f"meshca-vault-meshca-{number}" for number in range(replicas))
    return [upstream.model_copy(update={"custody_secret": name}) for name in names]


class Right(NamedTuple):
    """A verb on a resource, perhaps of one name, perhaps in one namespace."""

    verb: str
    resource: str
    group: str
    namespace: str
    name: str

    @classmethod
    def of(cls, permission: Permission) -> Right:
        """As the doctor's table has it."""
        return cls(permission.verb, permission.resource, permission.group, permission.namespace, permission.name)


def _everybodys(permission: Permission) -> bool:
    """Every service account may read trust bundles (KEP-3257)."""
    return permission.resource == "clustertrustbundles" and permission.verb in {"get", "list", "watch"}


def rights(objects: list[dict[str, Any]]) -> Iterator[Right]:
    """Everything that the Roles give."""
    for role in (each for each in objects if each["kind"] in {"Role", "ClusterRole"}):
        for rule in role["rules"] or ():
            for group, resource, verb, name in itertools.product(
                rule["apiGroups"], rule["resources"], rule["verbs"], rule.get("resourceNames", [""])
            ):
                yield Right(verb, resource, group, role["metadata"].get("namespace", ""), name)


def test_rights_end_with_their_switch() -> None:
    """What is off needs no right; no Secret can be read beyond our own namespace and istiod's."""
    roles = [each for each in rendered(**CHOICES["nothing"]) if each["kind"] == "ClusterRole"]
    [cluster] = [{tuple(rule["resources"]) for rule in each["rules"]} for each in roles]
    assert cluster == {("tokenreviews",), ("pods",)}
    for choice in CHOICES.values():
        for role in (each for each in rendered(**choice) if each["kind"] == "ClusterRole"):
            assert not any("secrets" in rule["resources"] for rule in role["rules"])


def test_listed_namespaces_need_no_right_everywhere() -> None:
    """With a list the ConfigMap may be written there and nowhere else."""
    objects = rendered(rootConfigMap={"namespaces": ["shop"]})
    assert not any("configmaps" in rule["resources"] for rule in only(objects, "ClusterRole")["rules"])
    role = only(objects, "Role", "meshca-roots")
    assert role["metadata"]["namespace"] == "shop"

"""What keeps a pod from being injected."""

from __future__ import annotations

from typing import Any

import pytest

from meshca.sidecar.inject_pod import inject
from meshca.sidecar.inject_refusal import Refused, account_of
from meshca.sidecar.inject_settings import HEALTH, INBOUND, INJECT, OUTBOUND, PROTOCOL
from tests.sidecar.manifests import APP, IN, SETTINGS, pod

PEER = "9001=pay:8443,spiffe://cluster.local/ns/a/sa/b"


def refusals(given: Any) -> list[tuple[str, str]]:
    """Every field and what is said of it."""
    with pytest.raises(Refused) as caught:
        inject(given, "shop", SETTINGS)
    return [(".".join(map(str, each.path)), each.text) for each in caught.value.problems]


def app(*ports: Any) -> list[Any]:
    """A container that declares ports."""
    return [APP | {"ports": list(ports)}]


@pytest.mark.parametrize(
    ("given", "path", "text"),
    [
        pytest.param({"spec": 1}, "spec", "expected a mapping", id="spec"),
        pytest.param({}, "spec", "expected a mapping", id="no-spec"),
        pytest.param(
            {"metadata": 1, "spec": {"containers": [APP]}}, "metadata", "expected a mapping", id="metadata"
        ),
        pytest.param(
            {"metadata": {"annotations": [1]}, "spec": {"containers": [APP]}},
            "metadata.annotations",
            "expected a mapping",
            id="annotations",
        ),
        pytest.param(pod(containers=[]), "spec.containers", "expected at least one", id="no-containers"),
        pytest.param(pod(containers="x"), "spec.containers", "expected a list of mappings", id="containers"),
        pytest.param(pod(volumes=[1]), "spec.volumes", "expected a list of mappings", id="volumes"),
        pytest.param(
            pod({INJECT: "no"}), f"metadata.annotations.{INJECT}", 'expected "true" or "false"', id="inject"
        ),
        pytest.param(pod({INBOUND: 1}), f"metadata.annotations.{INBOUND}", "expected text", id="number"),
        pytest.param(
            pod({INBOUND: "1"}), f"metadata.annotations.{INBOUND}", "1: expected PORT:APP_PORT", id="inbound"
        ),
        pytest.param(
            pod({OUTBOUND: "1"}), f"metadata.annotations.{OUTBOUND}", "1: expected PORT=HOST", id="outbound"
        ),
        pytest.param(
            pod(IN | {PROTOCOL: "tcp"}), f"metadata.annotations.{PROTOCOL}", "tcp: expected", id="protocol"
        ),
        pytest.param(pod(IN | {HEALTH: "h"}), f"metadata.annotations.{HEALTH}", "h: expected a path", id="health"),
        pytest.param(
            pod(IN | {"meshca.io/outbuond": PEER}),
            "metadata.annotations.meshca.io/outbuond",
            f"no such annotation; did you mean {OUTBOUND}",
            id="slip",
        ),
        pytest.param(pod({}), "metadata.annotations", f'set {INBOUND}: "8443:8080" (a port', id="no-ports"),
        pytest.param(
            pod({}, containers=app({"containerPort": 53, "protocol": "UDP"}, {"containerPort": 80})),
            "metadata.annotations",
            f'set {INBOUND}: "8443:80" (a port',
            id="no-ports-but-a-declared-one",
        ),
        pytest.param(pod(hostNetwork=True), "spec.hostNetwork", "shares the node's network", id="host-network"),
        pytest.param(pod(os={"name": "windows"}), "spec.os.name", "Linux only", id="windows"),
        pytest.param(pod(serviceAccountName="A"), "spec.serviceAccountName", "DNS-1123", id="account"),
        pytest.param(pod(serviceAccount="A"), "spec.serviceAccount", "DNS-1123", id="old-account"),
        pytest.param(
            pod(containers=[APP, {"name": "meshca-envoy"}]),
            "spec.containers.1.name",
            "it is not ours",
            id="container",
        ),
        pytest.param(
            pod(initContainers=[{"name": "meshca-agent"}]),
            "spec.initContainers.0.name",
            "it is not ours",
            id="init",
        ),
        pytest.param(
            pod(volumes=[{"name": "meshca-roots"}]), "spec.volumes.0.name", "a volume of this", id="volume"
        ),
        pytest.param(
            pod({INBOUND: "15000:1"}),
            f"metadata.annotations.{INBOUND}",
            "port 15000 is the sidecar's own",
            id="own",
        ),
        pytest.param(pod({INBOUND: "0:1"}), f"metadata.annotations.{INBOUND}", "must be above 0", id="zero"),
        pytest.param(
            pod({INBOUND: "1:2 1:3"}),
            f"metadata.annotations.{INBOUND}",
            "port 1 is given twice",
            id="inbound-twice",
        ),
        pytest.param(
            pod({INBOUND: "9001:2", OUTBOUND: PEER}),
            f"metadata.annotations.{OUTBOUND}",
            "port 9001 is given twice",
            id="in-and-out",
        ),
        pytest.param(
            pod({INBOUND: "8443:8443"}), f"metadata.annotations.{INBOUND}", "cannot be the application's", id="app"
        ),
        pytest.param(
            pod(containers=app({"containerPort": 80}, {"containerPort": 8443})),
            "spec.containers.0.ports.1.containerPort",
            "port 8443 is the sidecar's",
            id="declared",
        ),
        pytest.param(
            pod(containers=app({"containerPort": 15021})),
            "spec.containers.0.ports.0.containerPort",
            "port 15021 is the sidecar's",
            id="declared-own",
        ),
        pytest.param(
            pod({OUTBOUND: " ".join(f"{n}=h{n}.example.org:1,spiffe://t/ns/a/sa/b" for n in range(1, 60))}),
            "metadata.annotations",
            "more than an annotation holds",
            id="too-many",
        ),
    ],
)
def test_refusals(given: Any, path: str, text: str) -> None:
    """Each names its field and what to do."""
    said = refusals(given)
    assert path in [place for place, _ in said]
    assert text in dict(said)[path]


def test_all_at_once() -> None:
    """Whoever mends one thing must not find the next by trying again."""
    found = refusals(pod(hostNetwork=True, volumes=[{"name": "meshca-roots"}], os={"name": "windows"}))
    assert [path for path, _ in found] == ["spec.hostNetwork", "spec.os.name", "spec.volumes.0.name"]


@pytest.mark.parametrize(
    "spec",
    [
        {"hostNetwork": False},
        {"os": {"name": "linux"}},
        {"containers": app({"containerPort": 8443, "protocol": "UDP"})},
        {"containers": app({"containerPort": 8080})},
        {"containers": [APP | {"ports": None}]},
        {"containers": [APP | {"ports": "x"}]},
        {"volumes": None},
        {"securityContext": None},
    ],
    ids=str,
)
def test_not_in_the_way(spec: dict[str, Any]) -> None:
    """What a sidecar can live with, or what is the API server's to refuse."""
    assert inject(pod(**spec), "shop", SETTINGS) is not None


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ({}, "default"),
        ({"serviceAccountName": "", "serviceAccount": None}, "default"),
        ({"serviceAccountName": "a"}, "a"),
        ({"serviceAccount": "b"}, "b"),
        ({"serviceAccountName": "a", "serviceAccount": "b"}, "a"),
    ],
)
def test_account(spec: dict[str, Any], name: str) -> None:
    """As the API server reads it."""
    assert account_of("shop", spec).name == name

"""The sidecar's containers and volumes."""

from __future__ import annotations

from typing import Any

import pytest

from meshca.agent.options import read_options
from meshca.agent.pin import RootFile
from meshca.agent.target import Target
from meshca.identity.service_account import ServiceAccount
from meshca.sidecar import inject_parts as parts
from meshca.sidecar.inject_settings import Ports, Sidecars
from meshca.sidecar.service import DEFAULT_AGENT_SOCKET
from tests.sidecar.manifests import settings
from tests.sidecar.services import INBOUND, OUTBOUND

WEB = ServiceAccount(namespace="shop", name="web")
PORTS = Ports(inbound=(INBOUND,), outbound=(OUTBOUND,))


def containers(user: int | None = None, **changes: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Agent and Envoy."""
    agent, envoy = parts.containers(settings(**changes), WEB, PORTS, user)
    return agent, envoy


@pytest.mark.parametrize("address", ["10.1.2.3", "fd00::1"])
def test_the_agent_takes_its_arguments(address: str) -> None:
    """The agent's own reader, in a pod of either address family."""
    agent, _ = containers(server_name="ca.example.org")
    options = read_options([each.replace("$(POD_IP)", address) for each in agent["args"][1:]], {})
    assert (agent["args"][0], options.readiness) == ("agent", Target(host=address, port=parts.AGENT_READY_PORT))
    assert options.socket == DEFAULT_AGENT_SOCKET
    assert isinstance(options.pin, RootFile)
    assert (str(options.endpoint), str(options.endpoint_mtls)) == ("ca.mesh:15012", "ca.mesh:15013")
    assert (str(options.trust_domain), options.server_name) == ("cluster.local", "ca.example.org")


def test_no_relay() -> None:
    """Without the other port the agent is told of none."""
    agent, _ = containers(endpoint_mtls="")
    assert not any(each.startswith("--endpoint-mtls") for each in agent["args"])


def test_every_file_is_on_a_volume() -> None:
    """What the arguments name is mounted, and nothing is written to the image."""
    agent, envoy = containers()
    named = [each.partition("=")[2] for each in agent["args"] if "=/" in each] + [envoy["args"][1]]
    mounted = [mount["mountPath"] for each in (agent, envoy) for mount in each["volumeMounts"]]
    assert len(named) == 5
    assert all(any(path.startswith(f"{folder}/") for folder in mounted) for path in named)


def test_every_mount_is_a_volume() -> None:
    """And each volume is mounted."""
    agent, envoy = containers()
    mounted = {mount["name"] for each in (agent, envoy) for mount in each["volumeMounts"]}
    volumes = [volume["name"] for volume in parts.volumes(settings())]
    assert (mounted, tuple(volumes)) == (set(volumes), parts.VOLUMES)


def test_token() -> None:
    """For the CA alone, and for an hour."""
    [volume] = [each for each in parts.volumes(settings(audience="ca")) if "projected" in each]
    token = {"audience": "ca", "expirationSeconds": 3600, "path": "istio-token"}
    assert volume["projected"]["sources"] == [{"serviceAccountToken": token}]


def test_only_envoy_lacks_the_token() -> None:
    """A flaw in the proxy gives no identity away but its own."""
    _, envoy = containers()
    assert {mount["name"] for mount in envoy["volumeMounts"]} == {"meshca-bootstrap", "meshca-socket"}


@pytest.mark.parametrize("user", [None, 1000])
def test_no_privileges(user: int | None) -> None:
    """Both containers, alike; a user id only when one is asked for."""
    for container in containers(user):
        context = dict(container["securityContext"])
        assert context.pop("runAsUser", None) == user
        assert context == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        }


@pytest.mark.parametrize(("sidecars", "policy"), [(Sidecars.NATIVE, "Always"), (Sidecars.PLAIN, None)])
def test_restart_policy(sidecars: Sidecars, policy: str | None) -> None:
    """What makes an init container a sidecar."""
    assert [each.get("restartPolicy") for each in containers(sidecars=sidecars)] == [policy, policy]


def test_the_next_container_waits() -> None:
    """A native sidecar holds up what comes after it until its startup probe succeeds."""
    probes = [each["startupProbe"]["httpGet"] for each in containers()]
    assert probes == [{"path": "/readyz", "port": 15021}, {"path": "/ready", "port": 15022}]


def test_ports_for_services() -> None:
    """A Service can name the mTLS port."""
    assert containers()[1]["ports"] == [{"name": "mtls-8443", "containerPort": 8443}]


def test_no_ports() -> None:
    """A workload that only calls opens none."""
    made = parts.containers(settings(), WEB, Ports(inbound=(), outbound=(OUTBOUND,)), None)
    assert "ports" not in made[1]

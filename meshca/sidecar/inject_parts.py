"""The containers and volumes of a sidecar, as Kubernetes objects. Pure.

They are what the restricted Pod Security Standard admits: no root, no privileges, a read-only root file system.
No user id is written unless it is asked for: whichever the cluster gives does, as long as both containers share
it, since the agent's socket is served by user id.
"""

from __future__ import annotations

from typing import Any, Final

from meshca.identity.service_account import ServiceAccount
from meshca.sidecar.inject_settings import BOOTSTRAP, Ports, Settings, Sidecars
from meshca.sidecar.ready_page import PATH
from meshca.sidecar.service import DEFAULT_AGENT_SOCKET

Tree = dict[str, Any]

AGENT: Final = "meshca-agent"
ENVOY: Final = "meshca-envoy"
CONTAINERS: Final = (AGENT, ENVOY)
ADMIN_PORT: Final = 15000  # on loopback
AGENT_READY_PORT: Final = 15021
ENVOY_READY_PORT: Final = 15022
OUR_PORTS: Final = (ADMIN_PORT, AGENT_READY_PORT, ENVOY_READY_PORT)

_TOKEN, _ROOTS, _SOCKET, _STATE = "meshca-token", "meshca-roots", "meshca-socket", "meshca-state"
_BOOTSTRAP: Final = "meshca-bootstrap"
VOLUMES: Final = (_TOKEN, _ROOTS, _SOCKET, _STATE, _BOOTSTRAP)

_TOKEN_FOLDER: Final = "/var/run/secrets/tokens"  # noqa: S105 - where agents look for it, Istio's too
_TOKEN_FILE: Final = "istio-token"  # noqa: S105 - its name
_ROOT_FOLDER: Final = "/var/run/secrets/istio"
_STATE_FOLDER: Final = "/var/lib/meshca-agent"
_BOOTSTRAP_FOLDER: Final = "/etc/meshca-envoy"
_BOOTSTRAP_FILE: Final = "bootstrap.yaml"
_TOKEN_SECONDS: Final = 3600  # the kubelet renews it at four fifths
_START_SECONDS: Final = 600  # how long a pod may wait for its first certificate before its container is restarted
_THREADS: Final = "2"  # Envoy takes one for each core of the node otherwise


def containers(settings: Settings, account: ServiceAccount, ports: Ports, user: int | None) -> list[Tree]:
    """The agent, then Envoy, which waits for it."""
    made = [_agent(settings), _envoy(settings, account, ports)]
    for container in made:
        container["securityContext"] = _security(user)
        if settings.sidecars is Sidecars.NATIVE:
            container["restartPolicy"] = "Always"
    return made


def volumes(settings: Settings) -> list[Tree]:
    """What the two containers mount; the application mounts none of it."""
    token = {"audience": settings.audience, "expirationSeconds": _TOKEN_SECONDS, "path": _TOKEN_FILE}
    roots = {"key": settings.root_key, "path": "root-cert.pem"}
    bootstrap = {"path": _BOOTSTRAP_FILE, "fieldRef": {"fieldPath": f"metadata.annotations['{BOOTSTRAP}']"}}
    return [
        {"name": _TOKEN, "projected": {"sources": [{"serviceAccountToken": token}]}},
        {"name": _ROOTS, "configMap": {"name": settings.root_config_map, "items": [roots]}},
        {"name": _SOCKET, "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
        {"name": _STATE, "emptyDir": {"sizeLimit": "64Mi"}},
        {"name": _BOOTSTRAP, "downwardAPI": {"items": [bootstrap]}},
    ]


def _agent(settings: Settings) -> Tree:
    flags = {
        "endpoint": settings.endpoint,
        "endpoint-mtls": settings.endpoint_mtls,
        "server-name": settings.server_name,
        "trust-domain": settings.trust_domain.name,
        "root": f"{_ROOT_FOLDER}/root-cert.pem",
        "token-file": f"{_TOKEN_FOLDER}/{_TOKEN_FILE}",
        "socket": str(DEFAULT_AGENT_SOCKET),
        "state-dir": f"{_STATE_FOLDER}/state",  # of its own, since the mount belongs to root
        "readiness": f"[$(POD_IP)]:{AGENT_READY_PORT}",  # brackets suit addresses of both families
    }
    return {
        "name": AGENT,
        "image": settings.image,
        "args": ["agent", *(f"--{name}={value}" for name, value in flags.items() if value)],
        "env": [_field("POD_IP", "status.podIP")],
        "startupProbe": _probe("/readyz", AGENT_READY_PORT, periodSeconds=1, failureThreshold=_START_SECONDS),
        "readinessProbe": _probe("/readyz", AGENT_READY_PORT, periodSeconds=5),
        "livenessProbe": _probe("/livez", AGENT_READY_PORT, periodSeconds=10),
        "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
        "volumeMounts": [
            {"name": _TOKEN, "mountPath": _TOKEN_FOLDER, "readOnly": True},
            {"name": _ROOTS, "mountPath": _ROOT_FOLDER, "readOnly": True},
            {"name": _SOCKET, "mountPath": str(DEFAULT_AGENT_SOCKET.parent)},
            {"name": _STATE, "mountPath": _STATE_FOLDER},
        ],
    }


def _envoy(settings: Settings, account: ServiceAccount, ports: Ports) -> Tree:
    arguments = {
        "config-path": f"{_BOOTSTRAP_FOLDER}/{_BOOTSTRAP_FILE}",
        # The pod's own namespace, whatever the manifest said.
        "service-node": "$(POD_NAME).$(POD_NAMESPACE)",
        "service-cluster": f"{account.name}.$(POD_NAMESPACE)",
        "concurrency": _THREADS,
        "log-level": "warning",
    }
    opened = [{"name": f"mtls-{item.port}", "containerPort": item.port} for item in ports.inbound]
    return {
        "name": ENVOY,
        "image": settings.envoy_image,
        "args": [
            *(part for name, value in arguments.items() for part in (f"--{name}", value)),
            "--disable-hot-restart",
        ],
        "env": [_field("POD_NAME", "metadata.name"), _field("POD_NAMESPACE", "metadata.namespace")],
        **({"ports": opened} if opened else {}),
        "startupProbe": _probe(PATH, ENVOY_READY_PORT, periodSeconds=1, failureThreshold=_START_SECONDS),
        "readinessProbe": _probe(PATH, ENVOY_READY_PORT, periodSeconds=5),
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "1Gi"}},
        "volumeMounts": [
            {"name": _BOOTSTRAP, "mountPath": _BOOTSTRAP_FOLDER, "readOnly": True},
            {"name": _SOCKET, "mountPath": str(DEFAULT_AGENT_SOCKET.parent)},
        ],
    }


def _security(user: int | None) -> Tree:
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        **({"runAsUser": user} if user is not None else {}),
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _probe(path: str, port: int, **more: int) -> Tree:
    return {"httpGet": {"path": path, "port": port}, "timeoutSeconds": 5, **more}


def _field(name: str, path: str) -> Tree:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}

"""How to reach a cluster's API server: from inside a pod, by a kubeconfig file, or by one that a Secret holds.

Our own token is read anew for every call, because the kubelet replaces it on disk. A kubeconfig from a Secret is
a stranger's text: it may carry inline credentials only, never a command to run or a file of ours to read.
"""

from __future__ import annotations

import base64
import contextlib
import os
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import yaml
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.config import load_kube_config, load_kube_config_from_dict
from kubernetes.aio.config.config_exception import ConfigException

from meshca import durable
from meshca.config import strict_yaml
from meshca.config.kubernetes import MAX_CONCURRENCY, KubernetesConfig
from meshca.errors import ConfigError
from meshca.kube.answer import REMOTE
from meshca.kube.api import Api
from meshca.kube.pods import AT_ONCE

MOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_HOST, _PORT = "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"
# To one API server: all its reviews and questions about pods at once, a watch of pods and one of Secrets, and two
# requests for its keys and its issuer. Whoever waits for a connection spends the time that its call has.
CONNECTIONS: Final = MAX_CONCURRENCY + 2 * AT_ONCE + 2 + 2
MAX_KUBECONFIG: Final = 64 * 1024  # bytes of one from a Secret; certificates and a token take about ten thousand
# What a kubeconfig from a Secret may say of its user and its cluster.
_INLINE: Final = {
    "user": frozenset({"token", "client-certificate-data", "client-key-data"}),
    "cluster": frozenset({"server", "certificate-authority-data", "tls-server-name", "proxy-url"}),
}
_DATA: Final = frozenset({"client-certificate-data", "client-key-data", "certificate-authority-data"})


@contextlib.asynccontextmanager
async def connect(config: KubernetesConfig, mount: Path = MOUNT, watches: int = 0) -> AsyncIterator[Api]:
    """The home cluster's API server. Nothing is asked yet.

    Args:
        config: how to reach it.
        mount: of our service account.
        watches: how many watches will be open, each on a connection of its own.

    Raises:
        ConfigError: there is no usable kubeconfig, or we are not in a pod.
    """
    configuration = Configuration()
    if config.kubeconfig is None:
        _in_cluster(configuration, mount)
    else:
        await _by_file(configuration, config.kubeconfig)
    async with _client(configuration, config.name, CONNECTIONS + watches) as client:
        yield Api(client, config.name, config.timeout)


@contextlib.asynccontextmanager
async def connect_remote(text: bytes, name: str, deadline: timedelta) -> AsyncIterator[Api]:
    """The API server of a kubeconfig that somebody else wrote.

    Raises:
        ConfigError: it is damaged, or it names commands, files, or a server without https.
    """
    tree = _inline_only(text, name)
    configuration = Configuration()
    # Python reads keys from files only, and the library's own stay until the process ends.
    with tempfile.TemporaryDirectory(prefix="meshca-") as folder:
        try:
            _move_to_files(tree, Path(folder))
            await load_kube_config_from_dict(tree, client_configuration=configuration)  # type: ignore[no-untyped-call] # untyped there
        except (ConfigException, KeyError, TypeError, ValueError) as error:
            raise ConfigError(name, [f"the kubeconfig cannot be used ({type(error).__name__})"]) from None
        client = _client(configuration, name)
    async with client:
        yield Api(client, name, deadline, REMOTE)


def own_namespace(config: KubernetesConfig, mount: Path = MOUNT) -> str:
    """The namespace that we run in: as configured, or the kubeconfig's, or the pod's.

    Raises:
        ConfigError: none of them says it.
    """
    if config.namespace:
        return config.namespace
    try:
        if config.kubeconfig is None:
            return (mount / "namespace").read_text().strip()
        tree = yaml.safe_load(durable.read(config.kubeconfig))
        contexts = {each["name"]: each["context"] for each in tree["contexts"]}
        return str(contexts[tree["current-context"]]["namespace"])
    except (OSError, KeyError, TypeError, yaml.YAMLError):
        raise ConfigError(
            "kubernetes.namespace", ["is not known here; name the namespace that meshca runs in"]
        ) from None


def _client(configuration: Configuration, name: str, connections: int = CONNECTIONS) -> ApiClient:
    configuration.connection_pool_maxsize = connections
    try:
        return ApiClient(configuration)  # reads the files of certificates
    except OSError as error:
        raise ConfigError(
            name, [f"a certificate or key to reach the API server cannot be read ({error})"]
        ) from None


def _in_cluster(configuration: Configuration, mount: Path) -> None:
    host, port = os.environ.get(_HOST), os.environ.get(_PORT)
    if not host or not port or not (mount / "token").is_file():
        problem = "there is no pod around us; set kubernetes.kubeconfig to the path of a kubeconfig file"
        raise ConfigError("kubernetes", [problem])
    configuration.host = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    configuration.ssl_ca_cert = str(mount / "ca.crt")
    _read_token_at_each_call(configuration, mount / "token")


async def _by_file(configuration: Configuration, path: Path) -> None:
    try:
        await load_kube_config(str(path), client_configuration=configuration)  # type: ignore[no-untyped-call] # untyped there
        token_file = _token_file(yaml.safe_load(durable.read(path)), path)
    except (ConfigException, KeyError, TypeError, ValueError, OSError, yaml.YAMLError) as error:
        raise ConfigError(str(path), [f"is no usable kubeconfig ({type(error).__name__})"]) from None
    if token_file is not None:
        _read_token_at_each_call(configuration, token_file)


def _token_file(tree: Mapping[str, Any], path: Path) -> Path | None:
    """The file of the current user's token, if it has one."""
    contexts = {each["name"]: each["context"] for each in tree["contexts"]}
    users = {each["name"]: each["user"] or {} for each in tree["users"]}
    named = users[contexts[tree["current-context"]]["user"]].get("tokenFile")
    return None if named is None else path.parent / named


def _read_token_at_each_call(configuration: Configuration, file: Path) -> None:
    def read(used: Configuration) -> None:
        used.api_key["BearerToken"] = f"Bearer {file.read_text().strip()}"

    configuration.api_key["BearerToken"] = ""  # that there is one makes the library ask the hook
    configuration.refresh_api_key_hook = read  # type: ignore[assignment] # says None there


def _inline_only(text: bytes, name: str) -> dict[str, Any]:
    if len(text) > MAX_KUBECONFIG:
        raise ConfigError(name, [f"the kubeconfig must be at most {MAX_KUBECONFIG} bytes"])
    try:
        tree = _mapping(strict_yaml.load(text.decode(), name))
        problems = [
            problem
            for kind in ("user", "cluster")
            for each in map(_mapping, tree[f"{kind}s"])
            for problem in _problems(kind, _text(each["name"]), _mapping(each[kind] or {}))
        ]
    except (ConfigError, KeyError, TypeError, UnicodeDecodeError):  # its own words could be a credential's
        expected = "clusters, users, contexts and current-context, each key once and without aliases"
        raise ConfigError(name, [f"is no kubeconfig: {expected}, are expected"]) from None
    if problems:
        raise ConfigError(name, problems)
    return dict(tree)


def _move_to_files(tree: Mapping[str, Any], folder: Path) -> None:
    """Write inline certificates and keys into this folder and name the files instead."""
    for kind, entries in _INLINE.items():
        for number, each in enumerate(tree[f"{kind}s"]):
            for field in (entries & set(each[kind] or {})) & _DATA:
                if encoded := each[kind].pop(field):
                    file = folder / f"{kind}-{number}-{field}"
                    file.touch(mode=0o600)
                    file.write_bytes(base64.b64decode(encoded))
                    each[kind][field.removesuffix("-data")] = str(file)


def _problems(kind: str, name: str, said: Mapping[str, Any]) -> Iterator[str]:
    if foreign := sorted(set(said) - _INLINE[kind]):
        allowed = ", ".join(sorted(_INLINE[kind]))
        yield f"{kind} {name} has {', '.join(foreign)}; only {allowed} may be used"
    if odd := sorted(key for key in _INLINE[kind] & set(said) if not isinstance(said[key], str)):
        yield f"{kind} {name}: {', '.join(odd)} must be text"
    elif kind == "cluster" and not said["server"].startswith("https://"):
        yield f"cluster {name}: server must begin with https://"


def _mapping(found: object) -> Mapping[str, Any]:
    if not isinstance(found, dict):
        raise TypeError("expected a mapping")
    return found


def _text(found: object) -> str:
    if not isinstance(found, str):
        raise TypeError("expected text")
    return found

"""`meshca serve` against a cluster, as a process of its own with a service account's kubeconfig.

account = await cluster.account(folder, namespace, "meshca", cluster_rules=RULES)
with serving_cluster(folder, {"kubeconfig": str(account.kubeconfig)}) as server:
    await server.create(token)
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from tests.e2e.kube.control_plane import free_ports
from tests.real.dev_server import MESHCA, START_SECONDS, STOP_SECONDS, Server, wait_for

# What proving callers needs of the cluster; the keys' address every service account may read.
REVIEWS: Final = {"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]}
PODS: Final = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}
RULES: Final = (REVIEWS, PODS)


@contextlib.contextmanager
def serving_cluster(
    folder: Path,
    kubernetes: Mapping[str, Any],
    *,
    reached: bool = True,
    starting: bool = False,
    through: Sequence[str] = (),
    **sections: Any,
) -> Iterator[Server]:
    """A server that serves; always ended.

    Args:
        folder: its folder; its log is the file `log` in it.
        kubernetes: that section of its configuration.
        reached: whether to wait until it is ready, for which it must have reached the cluster; else until its
            workers serve.
        starting: wait for neither, but only for its first page.
        through: a command that runs it; nothing is waited for then, because it may die at any moment.
        sections: others.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="meshca-") as short:  # a socket's name must be short
        addresses = {name: f"127.0.0.1:{port}" for name, port in zip(_DOORS, free_ports(3), strict=True)}
        tree = {
            "data_dir": str(folder / "data"),
            "workers": 1,
            "listen": {**addresses, "admin": f"{short}/admin.sock"},
            "kubernetes": dict(kubernetes),
            "log": {"format": "json"},
            **sections,
        }
        (folder / "meshca.yaml").write_text(yaml.safe_dump(tree))
        for name, file in (*_DOORS.items(), ("admin", "endpoint-admin")):
            (folder / file).write_text(str(tree["listen"][name]))
        up = _answers if starting else _is_ready if reached else _serves
        with _running(folder, through) as process:
            server = Server(folder=folder, process=process)
            wait_for(lambda: bool(through) or process.poll() is not None or up(server), START_SECONDS)
            assert through or process.poll() is None, (folder / "log").read_text()
            root = folder / "data" / "ca" / "root.pem"
            if root.exists():  # not of a CA that is kept elsewhere
                (folder / "root.pem").write_bytes(root.read_bytes())
            yield server


_DOORS: Final = {"token": "endpoint", "mtls": "endpoint-mtls", "http": "endpoint-http"}


@contextlib.contextmanager
def _running(folder: Path, through: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    command = [*through, *MESHCA, "serve", "--config", str(folder / "meshca.yaml")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env={**os.environ}, stderr=log, stdout=log)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(server: Server) -> bool:
    try:
        return server.http("/livez")[0] == 200
    except OSError:
        return False


def _is_ready(server: Server) -> bool:
    try:
        return server.http("/readyz")[0] == 200
    except OSError:
        return False


def _serves(server: Server) -> bool:
    return any(line["event"] == "server.ready" for line in server.log())

"""Real servers whose CA is in Secrets of a real cluster."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.real.dev_server import MESHCA, Server, launched_server


@dataclass(frozen=True, kw_only=True)
class Replica:
    """A server of one worker.

    Attributes:
        server: it may not serve yet.
        port: of its health pages, from the start.
    """

    server: Server
    port: int

    def page(self, path: str) -> tuple[int, dict[str, Any]]:
        """Status and content of a health page; (0, {}) while nobody listens."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())
        except OSError:
            return 0, {}

    def waits_for(self) -> str:
        """What a start waits for, as /readyz says; empty when it does not say."""
        return str(self.page("/readyz")[1].get("waits_for", ""))

    def serves(self) -> bool:
        """Whether it is ready."""
        return self.page("/readyz")[0] == 200

    def admin(self) -> str:
        """The administrator's socket."""
        return str(yaml.safe_load((self.server.folder / "meshca.yaml").read_text())["listen"]["admin"])

    def status_error(self) -> str:
        """Why there is no new signer, as `meshca status` says."""
        run = [*MESHCA, "status", "--output", "json"]
        environment = {**os.environ, "MESHCA_ADMIN_SOCKET": self.admin()}
        found = subprocess.run(run, check=False, capture_output=True, env=environment)
        return str(json.loads(found.stdout)["authority_error"])

    def refusals(self) -> list[str]:
        """Why signing material was refused, as logged."""
        return [str(line["detail"]) for line in self.server.log() if line["event"] == "signer.refused"]


@contextlib.contextmanager
def replica(
    folder: Path, kubeconfig: Path, namespace: str, upstream: str = "create: true", roots: str = ""
) -> Iterator[Replica]:
    """A server that was launched; nobody has waited for it.

    Args:
        folder: of the server.
        kubeconfig: of whoever it is in the cluster.
        namespace: that it runs in.
        upstream: more keys of its section `upstream`.
        roots: name of the ConfigMap that it publishes the roots in, in its namespace; none when empty.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    cluster = f"kubeconfig: {kubeconfig}, namespace: {namespace}, token_review: {{enabled: false}}"
    if roots:
        cluster += f", root_config_map: {{enabled: true, name: {roots}, namespaces: [{namespace}]}}"
    settings = {
        "MESHCA__WORKERS": "1",
        "MESHCA__UPSTREAM": f"{{kind: secret, {upstream}}}",
        "MESHCA__KUBERNETES": f"{{{cluster}}}",
    }
    with launched_server(folder, "--http-port", str(port), settings=settings) as server:
        yield Replica(server=server, port=port)

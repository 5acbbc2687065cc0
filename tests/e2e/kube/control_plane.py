"""A real Kubernetes control plane on loopback: etcd, API server and controller manager, RBAC on, no kubelets.

    with running_control_plane(folder) as plane:
        plane.kubeconfig        # of an administrator

`python -m tests.e2e.kube.control_plane COMMAND…` runs a command with MESHCA_TEST_KUBECONFIG pointing at one, which
is what `make test-kube` does; with KUBECONFIG set, the command is pointed at that cluster instead. Tests look at
the first variable only, so that `make test` never touches a cluster that happens to be in the environment.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID

from tests.e2e.kube.build import build, helm
from tests.fakes.pki import Ca, make_ca

ISSUER: Final = "https://kubernetes.default.svc.cluster.local"
START_SECONDS: Final = 90.0
STOP_SECONDS: Final = 20.0
# What tests need of the controller manager; the others only cost.
CONTROLLERS: Final = (
    "namespace-controller,serviceaccount-controller,root-ca-certificate-publisher-controller,"
    "garbage-collector-controller,clusterrole-aggregation-controller"
)


@dataclass(frozen=True, kw_only=True)
class ControlPlane:
    """A running control plane.

    Attributes:
        server: address of the API server, https.
        ca_pem: who signed its certificate.
        kubeconfig: of an administrator.
        folder: where logs, keys and data are.
        processes: its programs, API server first.
    """

    server: str
    ca_pem: str
    kubeconfig: Path
    folder: Path
    processes: Sequence[subprocess.Popen[bytes]]


@contextlib.contextmanager
def running_control_plane(folder: Path, *, api_flags: Sequence[str] = ()) -> Iterator[ControlPlane]:
    """A control plane of its own; ended, and waited for, on the way out."""
    program = str(build())
    with contextlib.ExitStack() as stack:
        processes: list[subprocess.Popen[bytes]] = []

        def start(name: str, *flags: str) -> None:
            log = stack.enter_context((folder / f"{name}.log").open("wb"))
            process = subprocess.Popen([program, name, *flags], cwd=folder, stdout=log, stderr=log)
            stack.callback(_end, process)
            processes.insert(0, process)

        etcd, peer, port = free_ports(3)
        credentials = _credentials(folder, port)
        start(
            "etcd",
            f"--data-dir={folder / 'etcd'}",
            f"--listen-client-urls=http://127.0.0.1:{etcd}",
            f"--advertise-client-urls=http://127.0.0.1:{etcd}",
            f"--listen-peer-urls=http://127.0.0.1:{peer}",
            "--unsafe-no-fsync",
            "--log-level=error",
        )
        start("kube-apiserver", *_api_flags(folder, etcd, port), *api_flags)
        wait_until_ready(f"https://127.0.0.1:{port}/readyz", folder, processes)
        start(
            "kube-controller-manager",
            f"--kubeconfig={credentials}",
            "--use-service-account-credentials=true",
            f"--service-account-private-key-file={folder / 'sa.key'}",
            f"--root-ca-file={folder / 'ca.crt'}",
            f"--controllers={CONTROLLERS}",
            "--leader-elect=false",
            "--secure-port=0",
        )
        yield ControlPlane(
            server=f"https://127.0.0.1:{port}",
            ca_pem=(folder / "ca.crt").read_text(),
            kubeconfig=credentials,
            folder=folder,
            processes=processes,
        )


def _api_flags(folder: Path, etcd: int, port: int) -> list[str]:
    return [
        f"--etcd-servers=http://127.0.0.1:{etcd}",
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        f"--tls-cert-file={folder / 'server.crt'}",
        f"--tls-private-key-file={folder / 'server.key'}",
        f"--client-ca-file={folder / 'ca.crt'}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        f"--service-account-issuer={ISSUER}",
        f"--service-account-key-file={folder / 'sa.pub'}",
        f"--service-account-signing-key-file={folder / 'sa.key'}",
        "--service-cluster-ip-range=10.96.0.0/16",
        "--endpoint-reconciler-type=none",
        "--profiling=false",
    ]


def _credentials(folder: Path, port: int) -> Path:
    """Keys and certificates of everyone; the administrator's kubeconfig."""
    ca = make_ca("testbed")
    _write(folder / "ca.crt", ca.pem)
    _write_key(folder / "sa.key", key := ec.generate_private_key(ec.SECP256R1()))
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    _write(folder / "sa.pub", public.decode())
    _write_signed(folder, "server", ca, x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kube-apiserver")]))
    group = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "system:masters")
    _write_signed(folder, "admin", ca, x509.Name([group, x509.NameAttribute(NameOID.COMMON_NAME, "admin")]))
    return write_kubeconfig(
        folder / "admin.kubeconfig",
        f"https://127.0.0.1:{port}",
        folder / "ca.crt",
        {"client-certificate": str(folder / "admin.crt"), "client-key": str(folder / "admin.key")},
    )


def write_kubeconfig(path: Path, server: str, ca_file: Path, user: dict[str, str], namespace: str = "") -> Path:
    """A kubeconfig of one cluster and one user."""
    context = {"cluster": "testbed", "user": "user", **({"namespace": namespace} if namespace else {})}
    tree = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "testbed", "cluster": {"server": server, "certificate-authority": str(ca_file)}}],
        "users": [{"name": "user", "user": user}],
        "contexts": [{"name": "testbed", "context": context}],
        "current-context": "testbed",
    }
    _write(path, yaml.safe_dump(tree))
    return path


def _write_signed(folder: Path, name: str, ca: Ca, subject: x509.Name) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    loopback = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(ca.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost"), loopback]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.key.public_key()), critical=False)
        .sign(ca.key, hashes.SHA256())
    )
    _write(folder / f"{name}.crt", certificate.public_bytes(Encoding.PEM).decode())
    _write_key(folder / f"{name}.key", key)


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    _write(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())


def _write(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o600)


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody uses now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def wait_until_ready(url: str, folder: Path, processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Return once the API server answers; fail when one of the processes ends first."""
    context = ssl.create_default_context(cafile=str(folder / "ca.crt"))
    context.load_cert_chain(folder / "admin.crt", folder / "admin.key")
    end = time.monotonic() + START_SECONDS
    while True:
        try:
            with urllib.request.urlopen(url, timeout=2, context=context) as answer:  # noqa: S310 - https above
                if answer.status == 200:
                    return
        except (OSError, urllib.error.URLError):
            pass
        for process in processes:
            if process.poll() is not None:
                raise RuntimeError(f"a part of the control plane ended; see {folder}/*.log: {_tail(folder)}")
        if time.monotonic() > end:
            raise RuntimeError(f"the API server is not ready; see {folder}/*.log: {_tail(folder)}")
        time.sleep(0.1)


def _tail(folder: Path) -> str:
    return "\n".join(path.read_text(errors="replace")[-1500:] for path in sorted(folder.glob("*.log")))


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def main(command: Sequence[str]) -> int:
    """Run a command with a cluster to test against."""

    def run(kubeconfig: str) -> int:
        environ = {**os.environ, "MESHCA_TEST_KUBECONFIG": kubeconfig}
        return subprocess.run(command, env=environ, check=False).returncode

    helm()  # now, not in the middle of a suite
    if given := os.environ.get("KUBECONFIG"):
        return run(given)
    with (
        tempfile.TemporaryDirectory(prefix="meshca-kube-") as folder,
        running_control_plane(Path(folder)) as plane,
    ):
        return run(str(plane.kubeconfig))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

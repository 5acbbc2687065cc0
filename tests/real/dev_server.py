"""A real server for tests: `meshca dev up` as a process of its own, its folder, and clients for it.

with running_server(tmp_path) as server:
    answer = await server.create(server.token("shop", "web"))
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from meshca._proto.istio.v1.auth.ca_pb2 import IstioCertificateRequest, IstioCertificateResponse
from meshca._proto.istio.v1.auth.ca_pb2_grpc import IstioCertificateServiceStub
from meshca.app.dev_issuer import DevIssuer
from meshca.clock import SystemClock
from meshca.identity.service_account import ServiceAccount

MESHCA = (sys.executable, "-m", "meshca")
START_SECONDS = 60.0
STOP_SECONDS = 30.0
CALL_SECONDS = 20.0
Metadata = Sequence[tuple[str, str | bytes]]


@dataclass(frozen=True, kw_only=True)
class Key:
    """A client's key and a CSR for it that asks for no names."""

    private: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    @property
    def csr(self) -> str:
        """PEM."""
        builder = x509.CertificateSigningRequestBuilder(subject_name=x509.Name([]))
        return builder.sign(self.private, hashes.SHA256()).public_bytes(Encoding.PEM).decode()

    @property
    def pem(self) -> bytes:
        """The private key, PKCS#8 PEM."""
        return self.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """What a client holds after an issuance."""

    key: Key
    answer: IstioCertificateResponse

    @property
    def leaf(self) -> x509.Certificate:
        """The issued certificate."""
        return x509.load_pem_x509_certificate(self.answer.cert_chain[0].encode())

    @property
    def chain(self) -> bytes:
        """Leaf and intermediates, PEM: what a client shows."""
        return "".join(self.answer.cert_chain[:-1]).encode()

    @property
    def spiffe_id(self) -> str:
        """The one URI name."""
        names = self.leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        (uri,) = names.get_values_for_type(x509.UniformResourceIdentifier)
        return uri


@dataclass(frozen=True, kw_only=True)
class Server:
    """A running `meshca dev up`."""

    folder: Path
    process: subprocess.Popen[bytes]

    def endpoint(self, name: str = "endpoint") -> str:
        """host:port from one of the folder's files."""
        return (self.folder / name).read_text().strip()

    @property
    def root(self) -> bytes:
        """All roots, PEM."""
        return (self.folder / "root.pem").read_bytes()

    def token(
        self, namespace: str = "shop", name: str = "web", *, pod: str | None = "web-0", **options: Any
    ) -> str:
        """A token of the server's own issuer."""
        issuer = DevIssuer.open(self.folder, SystemClock())
        return issuer.mint(ServiceAccount(namespace=namespace, name=name), pod=pod, **options).reveal()

    @contextlib.asynccontextmanager
    async def channel(self, shown: Certificate | None = None) -> Any:
        """A connection to the token port, or, with a certificate, to the mTLS port."""
        if shown is None:
            name, credentials = "endpoint", grpc.ssl_channel_credentials(self.root)
        else:
            name = "endpoint-mtls"
            credentials = grpc.ssl_channel_credentials(self.root, shown.key.pem, shown.chain)
        options = (("grpc.max_send_message_length", -1), ("grpc.use_local_subchannel_pool", 1))
        async with grpc.aio.secure_channel(self.endpoint(name), credentials, options=options) as channel:
            yield channel

    async def call(
        self,
        request: IstioCertificateRequest,
        *,
        token: str | None = None,
        shown: Certificate | None = None,
        metadata: Metadata = (),
    ) -> IstioCertificateResponse:
        """One CreateCertificate over a fresh connection."""
        if token is not None:
            metadata = (*metadata, ("authorization", f"Bearer {token}"))
        async with self.channel(shown) as channel:
            stub: Any = IstioCertificateServiceStub(channel)
            answer: IstioCertificateResponse = await stub.CreateCertificate(
                request, metadata=metadata, timeout=CALL_SECONDS
            )
            return answer

    async def create(
        self,
        token: str | None = None,
        *,
        shown: Certificate | None = None,
        seconds: int = 0,
        key: Key | None = None,
    ) -> Certificate:
        """A certificate for a fresh key."""
        key = key or Key()
        request = IstioCertificateRequest(csr=key.csr, validity_duration=seconds)
        return Certificate(key=key, answer=await self.call(request, token=token, shown=shown))

    def http(self, path: str) -> tuple[int, str]:
        """Status and body of an HTTP page."""
        url = f"http://{self.endpoint('endpoint-http')}{path}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def metric(self, line: str) -> float:
        """The value of one metric line, 0 when it is not there."""
        for found in self.http("/metrics")[1].splitlines():
            if found.startswith(line + " "):
                return float(found.rpartition(" ")[2])
        return 0.0

    def log(self) -> list[dict[str, Any]]:
        """Everything logged so far."""
        lines = (self.folder / "log").read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def logged(self, event: str) -> list[dict[str, Any]]:
        """The lines of one event, once there is one; lines are written a moment after what they tell of."""
        wait_for(lambda: any(line["event"] == event for line in self.log()))
        return [line for line in self.log() if line["event"] == event]

    def workers(self) -> list[dict[str, Any]]:
        """The workers, as /readyz shows them."""
        found: list[dict[str, Any]] = json.loads(self.http("/readyz")[1])["workers"]
        return found

    def wait_until_it_serves(self) -> None:
        """Return once it does; fail when it ends instead."""
        ready = self.folder / "ready"
        wait_for(lambda: ready.exists() or self.process.poll() is not None, START_SECONDS)
        assert self.process.poll() is None, (self.folder / "log").read_text()

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """End it and give its exit code."""
        self.process.send_signal(how)
        return self.process.wait(STOP_SECONDS)


@contextlib.contextmanager
def running_server(
    folder: Path,
    *arguments: str,
    settings: Mapping[str, str] | None = None,
    log: int | None = None,
    through: Sequence[str] = (),
) -> Iterator[Server]:
    """A server that serves; always ended.

    Args:
        folder: its folder; its log is the file `log` in it.
        arguments: more of `meshca dev up`.
        settings: more environment, such as MESHCA__WORKERS.
        log: a file descriptor for its log instead.
        through: a command that runs it.
    """
    with launched_server(folder, *arguments, settings=settings, log=log, through=through) as server:
        server.wait_until_it_serves()
        yield server


@contextlib.contextmanager
def launched_server(
    folder: Path,
    *arguments: str,
    settings: Mapping[str, str] | None = None,
    log: int | None = None,
    through: Sequence[str] = (),
) -> Iterator[Server]:
    """As `running_server`, but nobody has waited for it yet."""
    folder.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "MESHCA__LOG__FORMAT": "json", **(settings or {})}
    with (folder / "log").open("wb") as file:
        output = file if log is None else log
        process = subprocess.Popen(
            [*through, *MESHCA, "dev", "up", "--dir", str(folder), *arguments],
            env=environment,
            stderr=output,
            stdout=output,
        )
    try:
        yield Server(folder=folder, process=process)
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for(condition: Any, seconds: float = 20.0) -> None:
    """Return once a condition holds; fail after so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


async def refused(call: Any) -> grpc.aio.AioRpcError:
    """The error that a call is refused with."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error
    raise AssertionError("the call was answered")


def reason(error: grpc.aio.AioRpcError) -> str:
    """The reason trailer, empty when there is none."""
    return str(dict(error.trailing_metadata() or ()).get("meshca-reason", ""))

"""Many agents in one process, each with an SDS client of its own; one line for each secret that is acknowledged.

    python -m bench.crowd FOLDER --first 0 --count 100

What stands for what: each agent is the agent's own code with its own identity, key, socket and connections to the
CA; only its process is shared, because this machine has no room for hundreds. Each client stands for an Envoy: it
asks for both secrets on one stream over the agent's socket and acknowledges at once; it loads no certificate.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import hashlib
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TextIO

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from envoy.config.core.v3.base_pb2 import Node
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest
from envoy.service.secret.v3.sds_pb2_grpc import SecretDiscoveryServiceStub

from meshca import log
from meshca.agent.memory import keep_small
from meshca.agent.options import read_options
from meshca.agent.process import Agent, Work
from meshca.backoff import Pace
from meshca.clock import SystemClock
from meshca.config.resource_names import DEFAULT, ROOTCA, SECRET_TYPE_URL
from meshca.wire.descriptors import raise_limit

AT_ONCE: Final = 8  # agents that start together, so that starting many is no storm


@dataclass(frozen=True, slots=True, kw_only=True)
class Ack:
    """That a client acknowledged a certificate.

    Attributes:
        agent: the number of its agent.
        at: seconds since 1970, when the acknowledgement was written.
        signer: SHA-256 of the certificate that signed the leaf.
    """

    agent: int
    at: float
    signer: str


def token_file(folder: Path, number: int) -> Path:
    """The token of the agent of this number."""
    return folder / f"token-{number}"


def acks_file(folder: Path, first: int) -> Path:
    """Where the process whose first agent has this number writes."""
    return folder / f"acks-{first}"


def read_acks(path: Path) -> Iterator[Ack]:
    """What was acknowledged so far."""
    for line in path.read_text().splitlines(keepends=True) if path.exists() else ():
        if line.endswith("\n"):
            agent, at, signer = line.split()
            yield Ack(agent=int(agent), at=float(at), signer=signer)


def _arguments(folder: Path, number: int, socket: Path) -> list[str]:
    """The command line of one agent of the CA that is in a folder."""
    endpoints = [(folder / name).read_text().strip() for name in ("endpoint", "endpoint-mtls")]
    return [
        *("--endpoint", endpoints[0], "--endpoint-mtls", endpoints[1], "--root", str(folder / "root.pem")),
        *("--token-file", str(token_file(folder, number)), "--node-id", f"pod-{number}"),
        *("--socket", str(socket), "--state-dir", "off", "--readiness", "off"),
    ]


async def _follow(socket: Path, number: int, acks: TextIO, first: asyncio.Event) -> None:
    """Ask an agent for both secrets and acknowledge each push."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(f"unix:{socket}", options) as channel:
        stream = SecretDiscoveryServiceStub(channel).StreamSecrets()
        asked = {"resource_names": [DEFAULT, ROOTCA], "type_url": SECRET_TYPE_URL}
        await stream.write(DiscoveryRequest(node=Node(id="bench"), **asked))
        while (pushed := await stream.read()) is not grpc.aio.EOF:
            answer = {"version_info": pushed.version_info, "response_nonce": pushed.nonce}
            await stream.write(DiscoveryRequest(**asked, **answer))
            at = time.time()
            for chain in filter(None, map(_chain, pushed.resources)):
                acks.write(f"{number} {at} {_signer(chain)}\n")
                first.set()


def _chain(resource: object) -> bytes:
    """The chain of a pushed secret; empty for roots."""
    secret = Secret.FromString(resource.value)  # type: ignore[attr-defined] # Any, untyped
    return bytes(secret.tls_certificate.certificate_chain.inline_bytes)


def _signer(chain: bytes) -> str:
    _, signer, *_ = x509.load_pem_x509_certificates(chain)
    return hashlib.sha256(signer.public_bytes(Encoding.DER)).hexdigest()


async def _live(folder: Path, number: int, place: Path, acks: TextIO, starting: asyncio.Semaphore) -> None:
    """One agent with its client, for ever."""
    socket = place / f"{number}.sock"
    await starting.acquire()
    agent = Agent(read_options(_arguments(folder, number, socket), {}), Pace(clock=SystemClock()))
    first = asyncio.Event()
    async with agent.open() as works, asyncio.TaskGroup() as tasks:
        for work in filter(_own, works):
            tasks.create_task(work())
        tasks.create_task(_follow(socket, number, acks, first))
        await first.wait()
        starting.release()


def _own(work: Work) -> bool:
    """Whether an agent's work is its own: memory belongs to the process, and to tidy it up takes a while."""
    return not (isinstance(work, functools.partial) and work.func is keep_small)


async def _run(folder: Path, first: int, count: int) -> None:
    starting = asyncio.Semaphore(AT_ONCE)
    with (
        tempfile.TemporaryDirectory(prefix="crowd-") as place,  # a socket's path must be short
        acks_file(folder, first).open("w", buffering=1) as acks,
    ):
        async with asyncio.TaskGroup() as tasks:
            for number in range(first, first + count):
                tasks.create_task(_live(folder, number, Path(place), acks, starting))


def main() -> None:
    """Run until ended from outside."""
    parser = argparse.ArgumentParser(prog="bench.crowd", description=__doc__)
    parser.add_argument("folder", type=Path, help="of the CA, with a token for each agent")
    parser.add_argument("--first", type=int, required=True, help="number of the first agent")
    parser.add_argument("--count", type=int, required=True, help="how many")
    arguments = parser.parse_args()
    raise_limit()
    log.configure(level="info", format_="json")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_run(arguments.folder, arguments.first, arguments.count))


if __name__ == "__main__":
    main()

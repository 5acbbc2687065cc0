"""All output of a server at debug level, after good and bad calls, searched for what it was sent and made."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret as SecretMessage

from meshca._proto.istio.v1.auth.ca_pb2 import IstioCertificateRequest
from meshca.config.resource_names import DEFAULT
from tests.fakes.pki import make_csr, rsa_key
from tests.fakes.xds_client import SDS, xds_stream
from tests.real.dev_server import Key, Server, refused, running_server, wait_for

MARK = "attacker-wrote-this"


def pem(der: bytes) -> str:
    """A request as clients send it."""
    return x509.load_der_x509_csr(der).public_bytes(Encoding.PEM).decode()


class Sent:
    """Everything that went over the wire or lies on disk and must not be logged."""

    def __init__(self) -> None:
        self.tokens: list[str] = []
        self.armoured: list[str] = []

    def token(self, token: str) -> str:
        """Remember a token."""
        self.tokens.append(token)
        return token

    def csr(self, csr: str) -> IstioCertificateRequest:
        """Remember a signing request."""
        self.armoured.append(csr)
        return IstioCertificateRequest(csr=csr)

    def parts(self) -> Iterator[str]:
        """What to search for: claims and signatures of tokens, every full line of base64."""
        for token in self.tokens:
            yield from (part for part in token.split(".")[1:] if part)
        for text in self.armoured:
            yield from (line for line in text.splitlines() if len(line) == 64 and "-" not in line)


@pytest.fixture(scope="module")
def sent() -> Sent:
    """What the calls below sent."""
    return Sent()


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory, sent: Sent) -> str:
    """Everything that a server wrote on both of its outputs, from its start to its end."""
    settings = {"MESHCA__WORKERS": "2", "MESHCA__LOG__LEVEL": "debug", "MESHCA__SDS__SERVER_KEYS": "true"}
    with running_server(tmp_path_factory.mktemp("ca"), settings=settings) as server:
        asyncio.run(good_calls(server, sent))
        asyncio.run(bad_calls(server, sent))
        asyncio.run(secrets_by_sds(server, sent))
        troubles(server)
        sent.armoured += private_keys(server.folder)
        assert server.stop() == 0
    return (server.folder / "log").read_text()


async def good_calls(server: Server, sent: Sent) -> None:
    """By token and by certificate, small keys and large."""
    token = sent.token(server.token())
    held = await server.create(token)
    sent.armoured.append(held.key.pem.decode())
    for key in (None, rsa_key()):
        await server.call(sent.csr(pem(make_csr(key))), token=token)
    await server.call(sent.csr(Key().csr), shown=held)
    await server.call(sent.csr(Key().csr), token=sent.token(server.token()), shown=held)


async def bad_calls(server: Server, sent: Sent) -> None:
    """Bad tokens with good requests, good tokens with bad requests."""
    good = server.token()
    for token in (
        server.token(audience=MARK),
        server.token(expires_in=timedelta(minutes=-5)),
        server.token(pod=None),
        good[:-6] + "AAAAAA",
        f"{MARK}.{MARK}.{MARK}",
        MARK * 50_000,
    ):
        await refused(server.call(sent.csr(Key().csr), token=sent.token(token)))
    sent.token(good)
    marked = x509.UniformResourceIdentifier(f"spiffe://{MARK}\n")
    for csr in (MARK, pem(make_csr(rsa_key(1024))), pem(make_csr(names=[marked])), pem(make_csr())[:-80]):
        await refused(server.call(sent.csr(csr), token=good))
    request = sent.csr(Key().csr)
    request.metadata.update({"CertSigner": MARK})
    await refused(server.call(request, token=good, metadata=(("x-request-id", MARK), ("clusterid", MARK))))
    for header in (f"Basic {MARK}", f"Bearer  {MARK}"):
        await refused(server.call(sent.csr(Key().csr), metadata=(("authorization", header),)))


async def secrets_by_sds(server: Server, sent: Sent) -> None:
    """A key that the server makes, and a stream that proves nobody."""
    headers = [("authorization", f"Bearer {sent.token(token)}") for token in (server.token(), MARK)]
    async with server.channel() as channel:
        async with xds_stream(channel, f"{SDS}StreamSecrets", metadata=headers[:1]) as stream:
            await stream.ask(DEFAULT)
            (body,) = (await stream.answer()).values()
            made = SecretMessage.FromString(body).tls_certificate.private_key.inline_bytes.decode()
            assert "PRIVATE KEY" in made
            sent.armoured.append(made)
            await stream.nack(MARK.replace("-", " "))
        async with xds_stream(channel, f"{SDS}StreamSecrets", metadata=headers[1:]) as stream:
            await stream.ask(DEFAULT)
            await stream.status()


def troubles(server: Server) -> None:
    """A store that cannot be written, a worker that is killed, a configuration that is refused."""
    with contextlib.closing(sqlite3.connect(server.folder / "data" / "meshca.db", timeout=10)) as other:
        other.execute("BEGIN EXCLUSIVE")
        asyncio.run(refused(server.create(server.token())))
        other.rollback()
    victim = server.workers()[0]["pid"]
    os.kill(victim, signal.SIGKILL)
    wait_for(lambda: server.http("/readyz")[0] == 200 and victim not in {w["pid"] for w in server.workers()})
    (server.folder / "meshca.yaml").write_text("colour: red")
    server.process.send_signal(signal.SIGHUP)
    wait_for(lambda: any(line["event"] == "reload.refused" for line in server.log()))


def private_keys(folder: Path) -> Iterable[str]:
    """The keys on disk: the root's, the intermediate's, the issuer's."""
    found = [path.read_text() for path in folder.rglob("*key*.pem")]
    assert len(found) >= 3
    assert all("PRIVATE KEY" in text for text in found)
    return found


def test_there_is_something_to_search(log: str, sent: Sent) -> None:
    """Every call left its event, and every secret has parts that can be looked for."""
    assert log.count('"event":"issuance.decided"') >= 18
    for event in ("worker.ended", "reload.refused", "server.stopping"):
        assert f'"event":"{event}"' in log
    assert len(set(sent.parts())) >= 50


def test_no_token_no_key_no_request(log: str, sent: Sent) -> None:
    """Not one part of a token, of a private key or of a signing request is in it."""
    assert [part[:40] for part in sent.parts() if part in log] == []


@pytest.mark.parametrize("word", ["BEGIN", "PRIVATE KEY", "Bearer ", "Traceback", MARK])
def test_no_trace_of(log: str, word: str) -> None:
    """Neither PEM nor headers nor tracebacks, nor a word that a stranger chose."""
    assert [line for line in log.splitlines() if word in line] == []

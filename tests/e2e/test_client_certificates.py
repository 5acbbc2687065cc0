"""Renewal by certificate where it must end: certificates that ended, chains too old, certificates of the CA."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID

from meshca._proto.istio.v1.auth.ca_pb2 import IstioCertificateRequest
from meshca._proto.istio.v1.auth.ca_pb2_grpc import IstioCertificateServiceStub
from tests.fakes.ca import Pair, certificate, svid_extensions
from tests.fakes.pki import Ca, ec_key, make_ca, pem_of
from tests.real.dev_server import Certificate, Key, Server, reason, refused, running_server

ONE = {"MESHCA__WORKERS": "1"}
CODE = grpc.StatusCode
WEB = "spiffe://cluster.local/ns/shop/sa/web"


class Plugged:
    """A CA whose keys the test holds, as files for the server."""

    def __init__(self, folder: Path) -> None:
        now, self.folder = datetime.now(UTC), folder
        self.root = make_ca("root", begin=now - timedelta(days=1), end=now + timedelta(days=30))
        self.signer = make_ca("signer", self.root, begin=now - timedelta(hours=1), end=now + timedelta(days=10))
        folder.mkdir()
        parts = {
            "ca-cert.pem": self.signer.pem,
            "ca-key.pem": self.signer.key_pem,
            "cert-chain.pem": self.signer.pem + self.root.pem,
            "root-cert.pem": self.root.pem,
        }
        for name, text in parts.items():
            (folder / name).touch(mode=0o600)
            (folder / name).write_text(text)

    def leaf(self, *extensions: tuple[x509.ExtensionType, bool], serial: int | None = None) -> tuple[str, str]:
        """A leaf of these extensions that the signer signed behind the server's back: key and chain."""
        now, key = datetime.now(UTC), ec_key()
        signer: Any = self.signer
        made = certificate(
            "",
            key.public_key(),
            Pair(signer.certificate, signer.key),
            signer.key,
            begin=now - timedelta(minutes=2),
            end=now + timedelta(hours=1),
            extensions=extensions,
            serial=serial,
        )
        return pem_of(key), Pair(made, key).pem + signer.pem

    def forged(self, victim: x509.Certificate) -> tuple[str, str]:
        """The victim's certificate on another key, signed by a second intermediate: key and chain."""
        now, key, old = datetime.now(UTC), ec_key(), make_ca("old", self.root)
        builder = x509.CertificateBuilder(
            issuer_name=old.certificate.subject,
            subject_name=victim.subject,
            public_key=key.public_key(),
            serial_number=victim.serial_number,
            not_valid_before=now - timedelta(minutes=2),
            not_valid_after=victim.not_valid_after_utc,
        )
        for extension in victim.extensions:
            if not isinstance(extension.value, x509.SubjectKeyIdentifier | x509.AuthorityKeyIdentifier):
                builder = builder.add_extension(extension.value, critical=extension.critical)
        signer: Any = old.key
        return pem_of(key), Pair(builder.sign(signer, hashes.SHA256()), key).pem + old.pem

    def serving(self) -> tuple[str, str]:
        """A serving certificate as the server makes its own: DNS names, for servers only."""
        names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
        purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
        return self.leaf((names, True), *svid_extensions()[1:3], (purpose, False))

    def shown(self, ca: Ca) -> tuple[str, str]:
        """A CA certificate as if it were a client's: key and chain."""
        return ca.key_pem, ca.pem if ca is self.root else ca.pem + self.root.pem


@pytest.fixture(scope="module")
def plugged(tmp_path_factory: pytest.TempPathFactory) -> Plugged:
    """The CA."""
    return Plugged(tmp_path_factory.mktemp("plugged") / "cacerts")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, plugged: Plugged) -> Iterator[Server]:
    """A server that signs below it."""
    settings = {**ONE, "MESHCA__UPSTREAM": f"{{kind: files, dir: {plugged.folder}}}"}
    with running_server(tmp_path_factory.mktemp("ca"), settings=settings) as running:
        yield running


async def create(channel: grpc.aio.Channel, **metadata: str) -> None:
    """One CreateCertificate over this very connection."""
    stub: Any = IstioCertificateServiceStub(channel)
    await stub.CreateCertificate(
        IstioCertificateRequest(csr=Key().csr), metadata=tuple(metadata.items()), timeout=20
    )


@asynccontextmanager
async def showing(server: Server, key: str, chain: str) -> Any:
    """A connection to the mTLS port with this pair."""
    credentials = grpc.ssl_channel_credentials(server.root, key.encode(), chain.encode())
    async with grpc.aio.secure_channel(server.endpoint("endpoint-mtls"), credentials) as channel:
        yield channel


class TestEnded:
    """A connection outlives its certificate; the proof does not."""

    async def test_expires_while_connected(self, server: Server) -> None:
        """Over one connection: renewed while valid, Unauthenticated from its end on, but for a good token."""
        held = await server.create(server.token(), seconds=5)
        async with server.channel(held) as channel:
            await create(channel)
            await _until(held)
            error = await refused(create(channel))
            await create(channel, authorization=f"Bearer {server.token()}")
        assert (error.code(), reason(error)) == (CODE.UNAUTHENTICATED, "cert_expired")

    async def test_new_connection(self, server: Server) -> None:
        """With a certificate that has ended nobody connects anew: it only shows as Unavailable."""
        held = await server.create(server.token(), seconds=1)
        await _until(held)
        assert (await refused(server.create(shown=held))).code() is CODE.UNAVAILABLE


async def _until(held: Certificate) -> None:
    """Return when a certificate has ended by everybody's clock: they are all the same."""
    left = held.leaf.not_valid_after_utc - datetime.now(UTC)
    await asyncio.sleep(max(0.0, left.total_seconds()) + 1.1)


class TestLineage:
    """A chain of renewals goes back to a token that is not too old."""

    @pytest.fixture
    def server(self, tmp_path: Path) -> Iterator[Server]:
        """A server for which a token proves a chain for six seconds."""
        settings = {**ONE, "MESHCA__AUTHN__CLIENT_CERT": "{max_lineage_age: 6s}"}
        with running_server(tmp_path / "ca", settings=settings) as running:
            yield running

    async def test_chain_ends(self, server: Server) -> None:
        """Renewals do not make the chain younger; past its age it is refused, and a token begins another."""
        held = await server.create(server.token())
        error = None
        for _ in range(300):
            try:
                held = await server.create(shown=held)
            except grpc.aio.AioRpcError as refusal:
                error = refusal
                break
            await asyncio.sleep(0.2)
        assert error is not None
        assert (error.code(), reason(error)) == (CODE.UNAUTHENTICATED, "lineage_too_old")
        assert reason(await refused(server.create(shown=held))) == "lineage_too_old"
        assert (await server.create(shown=await server.create(server.token()))).spiffe_id == WEB


class TestForged:
    """An intermediate that was stolen still leads to the root that is trusted."""

    async def test_anothers_serial(self, server: Server, plugged: Plugged) -> None:
        """The victim's serial number and identity on the thief's key prove nobody, whoever signed that."""
        victim = await server.create(server.token())
        key, chain = plugged.forged(victim.leaf)
        async with showing(server, key, chain) as channel:
            error = await refused(create(channel))
        assert (error.code(), reason(error)) == (CODE.UNAUTHENTICATED, "lineage_mismatch")
        assert (await server.create(shown=victim)).spiffe_id == WEB


class TestSwitchedOff:
    """With `authn.client_cert.enabled: false` only tokens prove callers."""

    @pytest.fixture
    def server(self, tmp_path: Path) -> Iterator[Server]:
        """A server that believes no certificate."""
        settings = {**ONE, "MESHCA__AUTHN__CLIENT_CERT": "{enabled: false}"}
        with running_server(tmp_path / "ca", settings=settings) as running:
            yield running

    async def test_only_a_token_proves(self, server: Server) -> None:
        """On the mTLS port a good certificate counts as none shown; a token is as good as ever."""
        held = await server.create(server.token())
        error = await refused(server.create(shown=held))
        assert (error.code(), reason(error)) == (CODE.UNAUTHENTICATED, "no_credential")
        assert (await server.create(server.token(), shown=held)).spiffe_id == WEB


class TestCertificatesOfTheCa:
    """What the CA itself holds proves no workload, though it leads to the very root that is trusted."""

    async def greeted(self, server: Server, folder: Path, key: str, chain: str) -> bytes:
        """The first bytes that the mTLS port says to a client with this pair; none when it hangs up.

        By Python's TLS: gRPC's client refuses to show some of these pairs at all.
        """
        (folder / "pair").write_text(key + chain)
        context = ssl.create_default_context(cadata=server.root.decode())
        context.set_alpn_protocols(["h2"])
        context.load_cert_chain(folder / "pair")
        host, _, port = server.endpoint("endpoint-mtls").rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port), ssl=context)
        try:
            return await asyncio.wait_for(reader.read(9), 20)
        except (ssl.SSLError, ConnectionError):
            return b""
        finally:
            writer.transport.abort()

    async def test_workload(self, server: Server, tmp_path: Path) -> None:
        """A workload's certificate is welcome: HTTP/2 begins with the server's settings."""
        held = await server.create(server.token())
        said = await self.greeted(server, tmp_path, held.key.pem.decode(), held.chain.decode())
        assert said[3:4] == b"\x04"  # the type of a SETTINGS frame, RFC 9113 section 6.5

    async def test_serving(self, server: Server, plugged: Plugged, tmp_path: Path) -> None:
        """A serving certificate of the CA's own fails the handshake: it is for servers only."""
        assert await self.greeted(server, tmp_path, *plugged.serving()) == b""

    @pytest.mark.parametrize("which", ["signer", "root"])
    async def test_ca(self, server: Server, plugged: Plugged, tmp_path: Path, which: str) -> None:
        """So do the intermediate and the root: they sign certificates, not handshakes."""
        assert await self.greeted(server, tmp_path, *plugged.shown(getattr(plugged, which))) == b""

    async def test_self_made_svid(self, server: Server, plugged: Plugged) -> None:
        """What the CA's key signed behind the CA's back is not in the ledger, so it proves nobody."""
        async with showing(server, *plugged.leaf(*svid_extensions(WEB))) as channel:
            error = await refused(create(channel))
        assert (error.code(), reason(error)) == (CODE.UNAUTHENTICATED, "unknown_serial")

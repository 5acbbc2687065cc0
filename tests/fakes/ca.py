"""A small CA for tests of the agent: issues from a root and an intermediate, or misbehaves as it is told.

`FakeCa` has the two ways of `meshca.agent.issuer.Ca`, so that renewal is tested without a network;
`serving_ca` puts the same thing behind real TLS ports.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import ipaddress
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import grpc
import grpc.aio
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from meshca._proto.istio.v1.auth.ca_pb2 import IstioCertificateRequest, IstioCertificateResponse
from meshca._proto.istio.v1.auth.ca_pb2_grpc import (
    IstioCertificateServiceServicer,
    add_IstioCertificateServiceServicer_to_server,
)
from meshca.agent.svid import Svid
from meshca.agent.target import Target
from meshca.clock import Clock
from meshca.errors import Denied, Exhausted, MeshcaError, Unauthenticated, Unavailable
from meshca.wire.interceptors import Guarded

OWN = "spiffe://cluster.local/ns/shop/sa/web"
ANY_PORT = Target(host="127.0.0.1", port=0)
PublicKey = Any  # whatever x509 takes


class Mood(enum.Enum):
    """How the CA answers."""

    ISSUE = enum.auto()
    REFUSE = enum.auto()
    DENY = enum.auto()
    BUSY = enum.auto()
    DOWN = enum.auto()
    HANG = enum.auto()
    GARBAGE = enum.auto()
    LEAF_ONLY = enum.auto()
    WRONG_KEY = enum.auto()
    EXPIRED = enum.auto()
    FUTURE = enum.auto()
    OTHER_IDENTITY = enum.auto()
    FOREIGN_ROOT = enum.auto()


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> str:
        """The certificate as PEM."""
        return self.certificate.public_bytes(Encoding.PEM).decode()

    @property
    def key_pem(self) -> str:
        """The key as PKCS#8 PEM."""
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def new_key() -> ec.EllipticCurvePrivateKey:
    """A P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def certificate(
    subject: str,
    public_key: PublicKey,
    issuer: Pair | None,
    signing: ec.EllipticCurvePrivateKey,
    *,
    begin: datetime,
    end: datetime,
    extensions: Sequence[tuple[x509.ExtensionType, bool]],
    serial: int | None = None,
) -> x509.Certificate:
    """A certificate with exactly these extensions, and a fresh serial unless one is given."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)] if subject else [])
    builder = x509.CertificateBuilder(
        issuer_name=issuer.certificate.subject if issuer else name,
        subject_name=name,
        public_key=public_key,
        serial_number=serial or x509.random_serial_number(),
        not_valid_before=begin,
        not_valid_after=end,
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(signing, hashes.SHA256())


def usage(*, signs: bool) -> x509.KeyUsage:
    """Key usage of a CA or of a leaf."""
    return x509.KeyUsage(
        digital_signature=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


def authority(subject: str, begin: datetime, end: datetime, issuer: Pair | None = None) -> Pair:
    """A root, or an intermediate below the issuer."""
    key = new_key()
    made = certificate(
        subject,
        key.public_key(),
        issuer,
        issuer.key if issuer else key,
        begin=begin,
        end=end,
        extensions=[(x509.BasicConstraints(ca=True, path_length=None), True), (usage(signs=True), True)],
    )
    return Pair(made, key)


def svid_extensions(*uris: str) -> list[tuple[x509.ExtensionType, bool]]:
    """What a leaf by the rules X1-X7 carries."""
    return [
        (x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri) for uri in uris]), True),
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (usage(signs=False), True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), False),
    ]


@dataclass(slots=True)
class FakeCa:
    """Issues for whoever asks.

    Attributes:
        clock: when certificates begin.
        mood: how it answers by token.
        certificate_mood: how it answers by certificate.
        lifetime: of the certificates.
        others: roots that answers name beside the one that signs.
        line: signer and root of what the TLS ports show; None while they are those that sign.
        hung: set once a caller waits for ever.
        asked: "token" or "certificate" for each call, in order.
    """

    clock: Clock
    mood: Mood = Mood.ISSUE
    certificate_mood: Mood = Mood.ISSUE
    lifetime: timedelta = timedelta(hours=24)
    identity: str = OWN
    asked: list[str] = field(default_factory=list)
    csrs: list[str] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    hung: asyncio.Event = field(default_factory=asyncio.Event)
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    others: list[Pair] = field(default_factory=list)
    line: tuple[Pair, Pair] | None = None
    root: Pair = field(init=False)
    signer: Pair = field(init=False)

    def __post_init__(self) -> None:
        begin, end = self.clock.now() - timedelta(days=1), self.clock.now() + timedelta(days=3650)
        self.root = authority("root", begin, end)
        self.signer = authority("signer", begin, end, self.root)

    def sign_below(self, root: Pair) -> None:
        """Sign below another root from now on; answers name both, and the ports still show the old line."""
        self.line = self.line or (self.signer, self.root)
        self.others.append(self.root)
        begin, end = root.certificate.not_valid_before_utc, root.certificate.not_valid_after_utc
        self.root, self.signer = root, authority(f"signer {len(self.others)}", begin, end, root)

    async def by_token(self, csr: str) -> Sequence[str]:
        """As `Ca.by_token`."""
        self.asked.append("token")
        return await self.answer(csr, self.mood)

    async def by_certificate(self, csr: str, svid: Svid) -> Sequence[str]:
        """As `Ca.by_certificate`."""
        self.asked.append("certificate")
        return await self.answer(csr, self.certificate_mood)

    async def answered(self, times: int) -> None:
        """Wait until it was asked so often."""
        async with asyncio.timeout(10):
            while len(self.asked) < times:
                self._news.clear()
                await self._news.wait()

    async def answer(self, csr: str, mood: Mood) -> tuple[str, ...]:
        """What comes back for a signing request, or the error."""
        self.csrs.append(csr)
        self._news.set()
        if mood is Mood.HANG:
            self.hung.set()
            await asyncio.Event().wait()
        if mood in _ERRORS:
            raise _ERRORS[mood]
        if mood is Mood.GARBAGE:
            return ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", self.root.pem)
        return self.issue(csr, mood)

    def issue(self, csr: str, mood: Mood = Mood.ISSUE) -> tuple[str, ...]:
        """A chain for the key of a signing request: leaf, intermediate, root."""
        now, begin, end = self.clock.now(), timedelta(minutes=-2), self.lifetime
        if mood is Mood.EXPIRED:
            begin, end = timedelta(hours=-2), timedelta(hours=-1)
        if mood is Mood.FUTURE:
            begin = timedelta(hours=1)
        root, signer, roots = self.root, self.signer, [self.root, *self.others]
        if mood is Mood.FOREIGN_ROOT:
            root = authority("root", now - timedelta(days=1), now + timedelta(days=1))
            signer = authority("signer", now - timedelta(days=1), now + timedelta(days=1), root)
            roots = [root]
        public = x509.load_pem_x509_csr(csr.encode()).public_key()
        identity = "spiffe://cluster.local/ns/other/sa/web" if mood is Mood.OTHER_IDENTITY else self.identity
        leaf = certificate(
            "",
            new_key().public_key() if mood is Mood.WRONG_KEY else public,
            signer,
            signer.key,
            begin=now + begin,
            end=now + end,
            extensions=svid_extensions(identity),
        )
        chain = (leaf.public_bytes(Encoding.PEM).decode(), signer.pem, "".join(each.pem for each in roots))
        return chain[:1] if mood is Mood.LEAF_ONLY else chain

    def serving_pair(self, *names: str) -> tuple[str, str]:
        """Chain and key for a TLS port with these DNS names, and loopback."""
        key, (signer, root) = new_key(), self.line or (self.signer, self.root)
        names_of: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
        names_of.append(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
        leaf = certificate(
            "",
            key.public_key(),
            signer,
            signer.key,
            begin=datetime.now(UTC) - timedelta(hours=1),
            end=datetime.now(UTC) + timedelta(days=30),
            extensions=[(x509.SubjectAlternativeName(names_of), True), *svid_extensions()[1:]],
        )
        chain = leaf.public_bytes(Encoding.PEM).decode() + signer.pem + root.pem
        return chain, Pair(leaf, key).key_pem


_ERRORS: dict[Mood, MeshcaError] = {
    Mood.REFUSE: Unauthenticated("test", "as the test wants"),
    Mood.DENY: Denied("test", "as the test wants"),
    Mood.BUSY: Exhausted("test", "as the test wants", retry_after=7.0),
    Mood.DOWN: Unavailable("test", "as the test wants"),
}


class _Service(IstioCertificateServiceServicer):
    def __init__(self, ca: FakeCa, way: str) -> None:
        self._ca = ca
        self._way = way

    async def CreateCertificate(  # noqa: N802 - the wire's name
        self, request: IstioCertificateRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> IstioCertificateResponse:
        headers = dict(context.invocation_metadata() or ())
        self._ca.tokens.append(str(headers.get("authorization", "")))
        ask = self._ca.by_token(request.csr) if self._way == "token" else self._by_certificate(request.csr)
        return IstioCertificateResponse(cert_chain=await ask)

    async def _by_certificate(self, csr: str) -> Sequence[str]:
        self._ca.asked.append("certificate")
        return await self._ca.answer(csr, self._ca.certificate_mood)


@dataclass(slots=True)
class ServingCa:
    """The TLS ports of a fake CA; they keep their numbers over `stop` and `start`.

    Attributes:
        handshakes: "token" or "certificate" for each TLS handshake that began at that port, in order.
    """

    ca: FakeCa
    token: Target = ANY_PORT
    mtls: Target = ANY_PORT
    client_roots: str = ""
    servers: list[grpc.aio.Server] = field(default_factory=list)
    extras: list[Any] = field(default_factory=list)
    handshakes: list[str] = field(default_factory=list)

    async def start(self) -> None:
        """Listen."""
        self.token = await self._listen("token", self.token)
        self.mtls = await self._listen("certificate", self.mtls)

    async def stop(self) -> None:
        """Be down."""
        for server in self.servers:
            await server.stop(None)
        self.servers.clear()

    async def _listen(self, way: str, target: Target) -> Target:
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        guarded: Any = Guarded(server)
        add_IstioCertificateServiceServicer_to_server(_Service(self.ca, way), guarded)
        for add in self.extras:
            add(guarded)
        chain, key = self.ca.serving_pair("localhost", "ca.test")
        pair = (key.encode(), chain.encode())
        roots = (self.client_roots or self.ca.root.pem).encode() if way == "certificate" else None
        credentials = grpc.dynamic_ssl_server_credentials(
            grpc.ssl_server_certificate_configuration([pair], root_certificates=roots),
            partial(self.handshakes.append, way),  # type: ignore[arg-type] # None: as before
            way == "certificate",
        )
        port = server.add_secure_port(str(target), credentials)
        await server.start()
        self.servers.append(server)
        return Target(host=target.host, port=port)


@contextlib.asynccontextmanager
async def serving_ca(ca: FakeCa, *extras: Any) -> AsyncIterator[ServingCa]:
    """The CA behind real TLS ports on loopback; `extras` add further services to both."""
    serving = ServingCa(ca, extras=list(extras))
    await serving.start()
    try:
        yield serving
    finally:
        await serving.stop()

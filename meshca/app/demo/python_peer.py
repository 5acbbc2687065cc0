"""Two mTLS peers in plain Python, for machines without Envoy: what an application does that has no sidecar.

The certificates come from `meshca agent --write-certs`. Every connection uses the set that is current when it
is made and resumes no session. Must never go on with a peer whose SPIFFE ID it has not looked at.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509

from meshca.app.demo.calls import Reply
from meshca.app.demo.certificates import Held
from meshca.errors import InvariantBroken

_CURRENT = "..data"  # a link to the current set; one rename changes key, chain and roots together
_SECONDS = 10.0


@dataclass(slots=True, kw_only=True)
class Identity:
    """A workload's certificate as files, always the current set.

    Attributes:
        folder: what the agent writes to.
    """

    folder: Path
    _contexts: dict[tuple[Path, bool], ssl.SSLContext] = field(default_factory=dict)

    def context(self, *, server: bool) -> ssl.SSLContext:
        """TLS settings with the current set: own certificate, and the mesh's roots for the other side."""
        current = (self.folder / _CURRENT).resolve()
        key = (current, server)
        if key not in self._contexts:
            self._contexts = {known: value for known, value in self._contexts.items() if known[0] == current}
            self._contexts[key] = _context(current, server=server)
        return self._contexts[key]

    def held(self) -> Held:
        """The certificate itself."""
        certificate = x509.load_pem_x509_certificate((self.folder / _CURRENT / "cert-chain.pem").read_bytes())
        return Held(
            spiffe_id=_uri(certificate),
            serial=f"{certificate.serial_number:x}",
            not_after=certificate.not_valid_after_utc,
        )


@dataclass(slots=True)
class Server:
    """The called side while it runs.

    Attributes:
        port: its mTLS port.
        handshakes: completed ones, each with a verified client certificate.
        resumed: those that resumed a session.
    """

    port: int = 0
    handshakes: int = 0
    resumed: int = 0


@contextlib.asynccontextmanager
async def serving(identity: Identity, allowed: str) -> AsyncIterator[Server]:
    """Answer 200 to one SPIFFE ID and 403 to every other of the mesh, on a free loopback port."""
    served = Server()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tls: ssl.SSLObject = writer.get_extra_info("ssl_object")
        served.handshakes += 1
        served.resumed += bool(tls.session_reused)
        status = "200 OK" if _caller(tls) == allowed else "403 Forbidden"
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(f"HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode())
            await writer.drain()
        writer.close()

    first = _context((identity.folder / _CURRENT).resolve(), server=True)
    first.sni_callback = lambda connection, _name, _context: _renew(connection, identity)
    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=first)
    async with server:
        served.port = server.sockets[0].getsockname()[1]
        yield served


async def call(identity: Identity, port: int, path: str, expected: str) -> Reply:
    """GET a path over a new mTLS connection to a peer that must prove an identity.

    Raises:
        InvariantBroken: reason `demo_peer`, when it proves another one; nothing was sent to it.
        OSError: no connection, or a failed handshake.
    """
    async with asyncio.timeout(_SECONDS):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=identity.context(server=False))
        try:
            proven = spiffe_id_of(writer.get_extra_info("ssl_object"))
            if proven != expected:
                raise InvariantBroken("demo_peer", f"the other side is {proven}, expected {expected}")
            writer.write(f"GET {path} HTTP/1.1\r\nhost: payments\r\n\r\n".encode())
            answer = await reader.readuntil(b"\r\n\r\n")
        finally:
            writer.close()
    return Reply(status=int(answer[9:12]), text=proven)


def spiffe_id_of(tls: ssl.SSLObject) -> str:
    """The one URI SAN of the verified certificate of the other side.

    Raises:
        InvariantBroken: reason `demo_peer`, when it has none, or several.
    """
    der = tls.getpeercert(binary_form=True)
    if der is None:
        raise InvariantBroken("demo_peer", "the other side has shown no certificate")
    return _uri(x509.load_der_x509_certificate(der))


def _caller(tls: ssl.SSLObject) -> str:
    """The caller's SPIFFE ID; the empty text, which nobody is allowed by, for a certificate that is no SVID."""
    try:
        return spiffe_id_of(tls)
    except InvariantBroken:
        return ""


def _uri(certificate: x509.Certificate) -> str:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        raise InvariantBroken("demo_peer", "the certificate has no names at all") from None
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    if len(uris) != 1:
        raise InvariantBroken("demo_peer", f"the certificate has {len(uris)} URI names, expected one")
    return uris[0]


def _context(files: Path, *, server: bool) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False  # peers are known by SPIFFE ID, checked by `spiffe_id_of`
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(files / "root-cert.pem")
    context.load_cert_chain(files / "cert-chain.pem", files / "key.pem")
    context.options |= ssl.OP_NO_TICKET
    if server:
        context.num_tickets = 0
    return context


def _renew(connection: ssl.SSLObject | ssl.SSLSocket, identity: Identity) -> None:
    """Let a handshake that begins go on with the current set."""
    connection.context = identity.context(server=True)

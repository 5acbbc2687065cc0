"""Asks the CA for a certificate: by the token, or by the certificate that is still valid.

Turns every way in which a call can fail into one of our errors, with what to do. What the CA has answered stands:
it must never be asked again here (`renewal` does that, with pauses). Must never log the token.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import grpc.aio

from meshca._proto.istio.v1.auth.ca_pb2 import IstioCertificateRequest
from meshca._proto.istio.v1.auth.ca_pb2_grpc import IstioCertificateServiceStub
from meshca.agent.call_error import decided, from_rpc
from meshca.agent.channel import Lent, open_channel
from meshca.agent.svid import Svid
from meshca.agent.target import Target
from meshca.agent.token_file import read_token
from meshca.agent.trust import Trust
from meshca.errors import Unavailable
from meshca.log import log

Metadata = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CaAddress:
    """Where the CA's two doors are.

    Attributes:
        token: the TLS port for callers with a token.
        mtls: the port for callers with a certificate; None when this CA has none.
        server_name: the name that the CA's certificate must carry; empty for the host of the address.
    """

    token: Target
    mtls: Target | None = None
    server_name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CaClient:
    """CreateCertificate with a deadline: over the open stream's channel, or one of its own for the call.

    Attributes:
        address: the CA.
        trust: gives the roots for each channel.
        token_file: read at each call by token.
        timeout: seconds for one whole call, connection and handshake included.
        lifetime: seconds to ask for; 0 leaves it to the CA.
        lent: has the channel of the open stream.
    """

    address: CaAddress
    trust: Trust
    token_file: Path
    timeout: float = 10.0
    lifetime: int = 0
    lent: Lent = field(default_factory=Lent)

    async def by_token(self, csr: str) -> Sequence[str]:
        """Ask with the token that the file holds now; the answer is unverified.

        Raises:
            MeshcaError: the call failed; `from_rpc` says as what.
        """
        bearer = read_token(self.token_file).reveal()
        target = self.address.token
        async with self._in_time(target):
            return await self._anew(target, csr, metadata=(("authorization", f"Bearer {bearer}"),))

    async def by_certificate(self, csr: str, svid: Svid) -> Sequence[str]:
        """Ask with the certificate that we hold; the answer is unverified.

        Where the open stream shows it too, the call goes beside that, and the answer has no roots: the stream
        teaches them. If that connection fails it goes over a new one, which may reach another replica. Both have
        one deadline.

        Raises:
            MeshcaError: the call failed; a certificate that the CA refuses in the handshake is `Unavailable`.
        """
        target = self.address.mtls
        if target is None:
            raise Unavailable("no_endpoint_mtls", "renewal by certificate needs --endpoint-mtls")
        async with self._in_time(target):
            answer = await self._beside_the_stream(target, csr, svid)
            return answer or await self._anew(target, csr, svid=svid)

    async def _beside_the_stream(self, target: Target, csr: str, svid: Svid) -> Sequence[str]:
        """Ask over the lent channel; nothing when there is none, or when it failed before the CA had answered."""
        async with self.lent.borrowed(svid) as channel:
            if channel is None:
                return ()
            try:
                chain = await self._ask(channel, csr, seconds=self.timeout / 2)  # the rest is for a new one
            except grpc.aio.AioRpcError as error:
                told = from_rpc(error, str(target))
                if decided(error) or not isinstance(told, Unavailable):
                    raise told from None
                log.info("certificate.fallback_to_new_channel", reason=told.reason, detail=told.detail)
                return ()
            return (*chain[:-1], "")  # `Lent` says why

    async def _anew(
        self, target: Target, csr: str, *, svid: Svid | None = None, metadata: Metadata = ()
    ) -> Sequence[str]:
        """Ask over a new channel."""
        roots = await self.trust.channel_roots()
        name = self.address.server_name
        async with open_channel(target, roots=roots, server_name=name, svid=svid) as channel:
            try:
                return await self._ask(channel, csr, metadata, seconds=self.timeout)
            except grpc.aio.AioRpcError as error:
                raise from_rpc(error, str(target)) from None

    @contextlib.asynccontextmanager
    async def _in_time(self, target: Target) -> AsyncIterator[None]:
        """One deadline for all that is done inside, and what it fails with explained."""
        try:
            async with asyncio.timeout(self.timeout):
                yield
        except Unavailable as error:
            raise await self.trust.explain(error) from None
        except TimeoutError:
            raise Unavailable(
                "ca_deadline", f"the CA at {target} did not answer within {self.timeout:g} s"
            ) from None

    async def _ask(
        self, channel: grpc.aio.Channel, csr: str, metadata: Metadata = (), *, seconds: float
    ) -> Sequence[str]:
        answer = await IstioCertificateServiceStub(channel).CreateCertificate(
            IstioCertificateRequest(csr=csr, validity_duration=self.lifetime), metadata=metadata, timeout=seconds
        )
        return tuple(answer.cert_chain)

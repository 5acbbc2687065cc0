"""What all checks look at: the server's configuration, where Istio is, the cluster, and the CA's two faces."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from meshca.authority.history import Record
from meshca.clock import Clock
from meshca.config.kubernetes import KubernetesConfig
from meshca.config.server import ServerConfig
from meshca.doctor.address import Address
from meshca.doctor.looking import Looking
from meshca.doctor.mesh import Place
from meshca.identity.service_account import ServiceAccount
from meshca.rotation.report import RootReport
from meshca.secret import Secret
from meshca.wire.handshake import Handshake


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A certificate to ask a CA for.

    Attributes:
        endpoint: where the CA is.
        server_name: that its certificate must carry.
        roots: PEM that its certificate must lead to.
        account: whose certificate it must be.
        token: that proves the account.
    """

    endpoint: Address
    server_name: str
    roots: str
    account: ServiceAccount
    token: Secret[str] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """A certificate that a CA answered with, checked as an agent checks it.

    Attributes:
        identity: its SPIFFE ID.
        not_after: its end.
        roots: PEM of all roots in the answer.
    """

    identity: str
    not_after: datetime
    roots: str


class Ca(Protocol):
    """Asks a CA as Istio's agents do."""

    async def issue(self, wish: Wish) -> Issued:
        """One certificate, whose key is thrown away.

        Raises:
            Unauthenticated: the token is not believed.
            Denied: it is, but no rule grants its identity.
            MeshcaError: anything else; with what to do.
        """
        ...


class Roots(Protocol):
    """The roots of a running server, asked on its own socket."""

    async def report(self) -> RootReport:
        """How they stand.

        Raises:
            MeshcaError: the server cannot be asked.
        """
        ...

    async def records(self) -> Sequence[Record]:
        """What is kept of every root, oldest first.

        Raises:
            MeshcaError: the server cannot be asked.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A server, its cluster, and an Istio in it.

    Attributes:
        config: of the server.
        kubernetes: that section of it.
        namespace: that the server runs in.
        place: where Istio is.
        looking: at the cluster.
        handshake: with an address, by a server name; raises OSError.
        ca: asks for a certificate.
        clock: ours.
        roots: of the running server.
        ca_address: what proxies are said to call the CA by; None to find out.
        endpoint: where to reach the CA from here, if not by that address.
    """

    config: ServerConfig
    kubernetes: KubernetesConfig
    namespace: str
    place: Place
    looking: Looking
    handshake: Callable[[Address, str], Awaitable[Handshake]]
    ca: Ca
    clock: Clock
    roots: Roots
    ca_address: Address | None = None
    endpoint: Address | None = None

    @property
    def audiences(self) -> tuple[str, ...]:
        """Of the tokens that the server believes."""
        if self.kubernetes.token_review.enabled:
            return self.kubernetes.token_review.audiences
        return tuple(dict.fromkeys(each for issuer in self.config.authn.issuers for each in issuer.audiences))

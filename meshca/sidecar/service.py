"""What an Envoy bootstrap is made from: the service, its ports, its peers, and where its secrets come from.

Values only; `bootstrap.build` turns them into Envoy's configuration. A value that exists is sound: ports and
paths were checked when it was made.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from meshca.errors import ConfigError
from meshca.identity.spiffe_id import SpiffeId, TrustDomain

# Half an hour: an SVID of the default day is renewed at half life, so a connection opened just before the
# renewal ends long before the certificate that opened it. Set it to at most half of a shorter lifetime.
MAX_CONNECTION_AGE = timedelta(minutes=30)
DEFAULT_AGENT_SOCKET = Path("/var/run/meshca/agent.sock")  # as `meshca agent` serves it
_PORTS = range(65536)
_MAX_SOCKET_PATH = 107  # bytes: sun_path holds 108 with the closing NUL (unix(7))


class AppProtocol(enum.StrEnum):
    """What the application behind an inbound listener speaks; gRPC needs http2."""

    HTTP1 = "http1"
    HTTP2 = "http2"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inbound:
    """A port on which peers call this service over mTLS, and the application behind it.

    Attributes:
        port: where Envoy listens; 0 lets the system choose.
        app_port: where the application listens.
        address: the address that Envoy listens on.
        app_address: the application's address; loopback, or others would reach it past Envoy.
        app_protocol: what the application speaks.
        health_path: path of the application's health check; no active check when empty.
    """

    port: int
    app_port: int
    address: str = "0.0.0.0"  # noqa: S104 - peers come from the network; mTLS and policies guard the port
    app_address: str = "127.0.0.1"
    app_protocol: AppProtocol = AppProtocol.HTTP1
    health_path: str = ""

    def __post_init__(self) -> None:
        _check_port(self.port, "inbound port", lowest=0)
        _check_port(self.app_port, "application port")
        if self.health_path and not self.health_path.startswith("/"):
            raise ConfigError("inbound", ["the health path must begin with a slash, such as /healthz"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Outbound:
    """Another service, reached by the application through a loopback port in plain HTTP.

    Attributes:
        listen_port: loopback port for the application; 0 lets the system choose.
        host: name or IP address of the other service.
        port: its mTLS port.
        identities: whose certificate the other side must show; at least one, compared exactly.
    """

    listen_port: int
    host: str
    port: int
    identities: tuple[SpiffeId, ...]

    def __post_init__(self) -> None:
        _check_port(self.listen_port, "outbound listening port", lowest=0)
        _check_port(self.port, "port of the other service")
        if not self.host:
            raise ConfigError("outbound", ["name the host of the other service"])
        if not self.identities:
            raise ConfigError("outbound", ["say which identity the other service must prove, as a SPIFFE ID"])


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSocket:
    """Secrets and policies come from `meshca agent` over its Unix socket."""

    path: Path

    def __post_init__(self) -> None:
        _check_socket(self.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectFromCa:
    """Secrets and policies come straight from the CA; Envoy shows the service-account token itself.

    Attributes:
        host: the CA's name or address.
        port: the CA's token port.
        root_file: PEM of the roots that the CA's own certificate must chain to.
        token_file: the service-account token; re-read by Envoy for each stream. It must not end in a newline.
        server_name: the name in the CA's certificate, when `host` is not in it.
    """

    host: str
    port: int
    root_file: Path
    token_file: Path
    server_name: str = ""

    def __post_init__(self) -> None:
        _check_port(self.port, "port of the CA")


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminPort:
    """Envoy's administration page on a loopback port (0 lets the system choose)."""

    port: int

    def __post_init__(self) -> None:
        _check_port(self.port, "administration port", lowest=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminSocket:
    """Envoy's administration page on a Unix socket."""

    path: Path

    def __post_init__(self) -> None:
        _check_socket(self.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadyPage:
    """A page for probes, open to the network, that answers once Envoy serves (port 0 lets the system choose)."""

    port: int
    address: str = "0.0.0.0"  # noqa: S104 - the kubelet asks from outside the pod; the page tells nothing

    def __post_init__(self) -> None:
        _check_port(self.port, "port of the ready page", lowest=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceBootstrap:
    """Everything that one service's Envoy is told.

    Attributes:
        identity: the service's own SPIFFE ID; its trust domain is the one that peers must belong to.
        source: where secrets and policies come from.
        inbound: the ports that peers call.
        outbound: the services that the application calls.
        admin: where Envoy's administration page is; None turns it off.
        ready: the page for probes; None for none.
        node_id: names this Envoy to the source; `<service account>.<namespace>` when empty.
        max_connection_age: after this long a connection is drained and closed, so that it does not outlive
            the certificate that opened it for long.
        access_log: whether each request is one JSON line on standard output, with the rule that decided.
        delta: whether xDS runs in its incremental form.
        full_handshakes: closes each connection after one request, so that a rotation test that passes has
            really used the new certificates. For tests only.
    """

    identity: SpiffeId
    source: AgentSocket | DirectFromCa
    inbound: tuple[Inbound, ...] = ()
    outbound: tuple[Outbound, ...] = ()
    admin: AdminPort | AdminSocket | None = None
    ready: ReadyPage | None = None
    node_id: str = ""
    max_connection_age: timedelta = MAX_CONNECTION_AGE
    access_log: bool = True
    delta: bool = False
    full_handshakes: bool = False
    trust_domain: TrustDomain = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "trust_domain", self.identity.trust_domain)
        problems = [
            *([] if self.inbound or self.outbound else ["name at least one inbound or outbound port"]),
            *([] if self.max_connection_age > timedelta(0) else ["the longest connection age must be over 0s"]),
            *_twice("inbound port", [*(item.port for item in self.inbound), self.ready.port if self.ready else 0]),
            *_twice(
                "inbound port 0 for application port", [item.app_port for item in self.inbound if not item.port]
            ),
            *_twice("outbound listening port", [item.listen_port for item in self.outbound]),
        ]
        if problems:
            raise ConfigError("envoy-config", problems)


def _twice(what: str, ports: list[int]) -> list[str]:
    return [f"{what} {port} is given twice" for port in sorted({p for p in ports if p and ports.count(p) > 1})]


def _check_port(port: int, what: str, *, lowest: int = 1) -> None:
    if port not in _PORTS or port < lowest:
        raise ConfigError("envoy-config", [f"the {what} must be a number from {lowest} to 65535"])


def _check_socket(path: Path) -> None:
    if len(str(path).encode()) > _MAX_SOCKET_PATH:
        raise ConfigError(
            "envoy-config", [f"the socket path must be at most {_MAX_SOCKET_PATH} bytes; choose a shorter one"]
        )

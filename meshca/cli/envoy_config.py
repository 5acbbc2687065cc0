"""`meshca envoy-config`: prints a complete Envoy bootstrap for a service, so that nobody writes one by hand.

Parses flags into a `ServiceBootstrap` and prints what `sidecar.bootstrap` makes of it; decides nothing itself.
"""

from __future__ import annotations

import contextlib
import enum
import json
import os
import re
import socket
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from meshca.cli.output import reporting_errors
from meshca.duration import format_duration, parse_duration
from meshca.errors import BadRequest, ConfigError
from meshca.identity.service_account import ServiceAccount
from meshca.identity.spiffe_id import SpiffeId, TrustDomain
from meshca.sidecar import bootstrap
from meshca.sidecar import manifest_render as render
from meshca.sidecar.service import (
    DEFAULT_AGENT_SOCKET,
    MAX_CONNECTION_AGE,
    AdminPort,
    AdminSocket,
    AgentSocket,
    AppProtocol,
    DirectFromCa,
    Inbound,
    Outbound,
    ReadyPage,
    ServiceBootstrap,
)
from meshca.sidecar.spelling import parse_host_port, parse_inbound, parse_outbound

_ADMIN_PORT = re.compile(r"(?:127\.0\.0\.1:|localhost:)?(\d{1,5})")
_FROM, _PORTS, _MORE = "Where secrets and policies come from", "Ports", "Connections and logs"


class Notation(enum.StrEnum):
    """What `--output` takes here."""

    YAML = "yaml"
    JSON = "json"


def command(  # long by its flags: typer reads them from the signature
    namespace: Annotated[str, typer.Option(help="The service's namespace.")],
    service_account: Annotated[str, typer.Option(help="The service account that the service runs as.")],
    trust_domain: Annotated[str, typer.Option(help="The mesh's trust domain.")] = "cluster.local",
    inbound: Annotated[
        list[str] | None,
        typer.Option(
            help="A port for peers and the application's port behind it: 8443:8080. Repeatable.",
            rich_help_panel=_PORTS,
        ),
    ] = None,
    outbound: Annotated[
        list[str] | None,
        typer.Option(
            help="A loopback port for the application, the other service, and the identity it must prove: "
            "9001=payments.shop:8443,spiffe://cluster.local/ns/shop/sa/payments. Further identities after "
            "further commas. Repeatable.",
            rich_help_panel=_PORTS,
        ),
    ] = None,
    listen_address: Annotated[
        str, typer.Option(help="Where inbound ports listen.", rich_help_panel=_PORTS)
    ] = "0.0.0.0",  # noqa: S104 - peers come from the network; mTLS and policies guard the port
    app_protocol: Annotated[
        AppProtocol, typer.Option(help="What the application speaks; gRPC needs http2.", rich_help_panel=_PORTS)
    ] = AppProtocol.HTTP1,
    health_path: Annotated[
        str, typer.Option(help="The application's health page, such as /healthz.", rich_help_panel=_PORTS)
    ] = "",
    agent_socket: Annotated[
        Path, typer.Option(help="The agent's Unix socket.", rich_help_panel=_FROM)
    ] = DEFAULT_AGENT_SOCKET,
    ca: Annotated[
        str,
        typer.Option(
            help="host:port of a CA that serves SDS itself (sds.server_keys), instead of an agent.",
            rich_help_panel=_FROM,
        ),
    ] = "",
    ca_root: Annotated[
        Path | None, typer.Option(help="PEM file of the CA's root, with --ca.", rich_help_panel=_FROM)
    ] = None,
    ca_server_name: Annotated[
        str,
        typer.Option(help="Name in the CA's certificate, when it is not the host of --ca.", rich_help_panel=_FROM),
    ] = "",
    token_file: Annotated[
        Path | None,
        typer.Option(help="Service-account token, with --ca; must not end in a newline.", rich_help_panel=_FROM),
    ] = None,
    max_connection_age: Annotated[
        str,
        typer.Option(
            help="Connections are closed at this age, so that none outlives its certificate for long; at most "
            "half of the certificates' lifetime.",
            rich_help_panel=_MORE,
        ),
    ] = format_duration(MAX_CONNECTION_AGE),
    admin: Annotated[
        str,
        typer.Option(
            help="Envoy's read-only administration page: a loopback port, unix:PATH or off.", rich_help_panel=_MORE
        ),
    ] = "15000",
    ready: Annotated[
        int,
        typer.Option(
            help="Port of a page /ready for probes, on --listen-address; 0 for none.", rich_help_panel=_MORE
        ),
    ] = 0,
    access_log: Annotated[
        bool,
        typer.Option(
            help="One JSON line a request on standard output, with the deciding rule.", rich_help_panel=_MORE
        ),
    ] = True,
    node_id: Annotated[
        str,
        typer.Option(
            help="Name of this Envoy; with --ca $POD_NAME or the host name, and the namespace, otherwise "
            "<service account>.<namespace> if empty.",
            rich_help_panel=_MORE,
        ),
    ] = "",
    delta: Annotated[bool, typer.Option("--delta", help="Incremental xDS.", rich_help_panel=_MORE)] = False,
    test_full_handshakes: Annotated[bool, typer.Option("--test-full-handshakes", hidden=True)] = False,
    output: Annotated[Notation, typer.Option("--output", "-o", help="Notation.")] = Notation.YAML,
) -> None:
    """Print a complete Envoy bootstrap for a service.

    It has mTLS in both directions, secrets over SDS, policies over ECDS, and denies until policies arrive.

    Example: meshca envoy-config --namespace shop --service-account web --inbound 8443:8080
    --outbound 9001=payments:8443,spiffe://cluster.local/ns/shop/sa/payments > envoy.yaml
    """
    with reporting_errors():
        service = ServiceBootstrap(
            identity=_identity(trust_domain, namespace, service_account),
            source=_direct(ca, ca_root, token_file, ca_server_name)
            if ca
            else _agent(agent_socket, ca_root, token_file),
            inbound=tuple(_inbound(item, listen_address, app_protocol, health_path) for item in inbound or []),
            outbound=tuple(map(_outbound, outbound or [])),
            admin=_admin(admin),
            ready=ReadyPage(port=ready, address=listen_address) if ready else None,
            node_id=node_id or (_pod(namespace) if ca else ""),
            max_connection_age=_age(max_connection_age),
            access_log=access_log,
            delta=delta,
            full_handshakes=test_full_handshakes,
        )
    _print(bootstrap.build(service), output)


def _print(built: dict[str, object], output: Notation) -> None:
    if output is Notation.JSON:
        sys.stdout.write(json.dumps(built, indent=2) + "\n")
        return
    sys.stdout.write(render.in_lines(built))


def _pod(namespace: str) -> str:
    """What an Envoy without an agent is called: as its pod, for the CA shows it beside others of its identity."""
    return f"{os.environ.get('POD_NAME') or socket.gethostname()}.{namespace}"


def _identity(trust_domain: str, namespace: str, service_account: str) -> SpiffeId:
    try:
        domain = TrustDomain(trust_domain)
        return SpiffeId.of(domain, ServiceAccount(namespace=namespace, name=service_account))
    except BadRequest as error:
        raise ConfigError("--trust-domain, --namespace, --service-account", [error.detail]) from None


def _inbound(value: str, address: str, protocol: AppProtocol, health_path: str) -> Inbound:
    with _naming("--inbound"):
        return parse_inbound(value, address=address, protocol=protocol, health_path=health_path)


def _outbound(value: str) -> Outbound:
    with _naming("--outbound"):
        return parse_outbound(value)


@contextlib.contextmanager
def _naming(flag: str) -> Iterator[None]:
    """Name the flag whose value is refused."""
    try:
        yield
    except BadRequest as error:
        raise ConfigError(flag, [error.detail]) from None


def _agent(socket: Path, ca_root: Path | None, token_file: Path | None) -> AgentSocket:
    if ca_root or token_file:
        raise ConfigError("--ca-root, --token-file", ["these go with --ca; an agent knows its own"])
    return AgentSocket(path=socket)


def _direct(ca: str, root: Path | None, token_file: Path | None, server_name: str) -> DirectFromCa:
    if root is None or token_file is None:
        raise ConfigError("--ca", ["give --ca-root and --token-file too"])
    with _naming("--ca"):
        host, port = parse_host_port(ca)
    return DirectFromCa(host=host, port=port, root_file=root, token_file=token_file, server_name=server_name)


def _admin(value: str) -> AdminPort | AdminSocket | None:
    if value == "off":
        return None
    if value.startswith("unix:"):
        return AdminSocket(path=Path(value.removeprefix("unix:")))
    match = _ADMIN_PORT.fullmatch(value)
    if match is None:
        raise ConfigError("--admin", ["expected a loopback port such as 15000, unix:PATH, or off"])
    return AdminPort(port=int(match[1]))


def _age(value: str) -> timedelta:
    try:
        return parse_duration(value)
    except ValueError as error:
        raise ConfigError("--max-connection-age", [str(error)]) from None

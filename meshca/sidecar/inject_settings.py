"""What is injected into every pod alike, and what one pod may choose by its annotations. Values only."""

from __future__ import annotations

import difflib
import enum
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, TypeVar

from meshca.errors import BadRequest
from meshca.identity.spiffe_id import TrustDomain
from meshca.sidecar.service import MAX_CONNECTION_AGE, AppProtocol, Inbound, Outbound
from meshca.sidecar.spelling import parse_inbound, parse_outbound

DOMAIN: Final = "meshca.io/"
INJECT: Final = f"{DOMAIN}inject"
INBOUND: Final = f"{DOMAIN}inbound"
OUTBOUND: Final = f"{DOMAIN}outbound"
PROTOCOL: Final = f"{DOMAIN}app-protocol"
HEALTH: Final = f"{DOMAIN}health-path"
CHOICES: Final = (INJECT, INBOUND, OUTBOUND, PROTOCOL, HEALTH)
INJECTED: Final = f"{DOMAIN}injected"
BOOTSTRAP: Final = f"{DOMAIN}envoy-bootstrap"

T = TypeVar("T")


class Sidecars(enum.StrEnum):
    """How the containers run.

    `native` ones (init containers with restartPolicy Always, Kubernetes 1.29 and later) start before everything
    else of the pod, one after the other, and end after it; `plain` ones are further containers without an order.
    """

    NATIVE = "native"
    PLAIN = "plain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """The ports of one workload, as they are spelt.

    Attributes:
        inbound: ports for peers, `8443:8080`.
        outbound: other services, `9001=payments:8443,spiffe://…`.
        protocol: what the application speaks.
        health_path: of the application; no active check when empty.
    """

    inbound: tuple[str, ...] = ()
    outbound: tuple[str, ...] = ()
    protocol: str = AppProtocol.HTTP1.value
    health_path: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What every pod gets.

    Attributes:
        version: of meshca, for the record.
        image: with `meshca agent`.
        envoy_image: whose user is the agent's, or whom the agent is told of; the socket is served by user id.
        endpoint: of the CA, for callers with a token.
        endpoint_mtls: of the CA, for renewal, roots and policies; empty for none.
        server_name: in the CA's certificate, when it is not the endpoint's host.
        audience: of the token.
        trust_domain: of the mesh.
        root_config_map: whose roots are trusted at first contact.
        root_key: the key of the roots in it.
        namespace: of manifests that name none.
        sidecars: how the containers run.
        run_as_user: their user id; the images' own when None.
        listen_address: where Envoy listens for peers and probes.
        max_connection_age: after this long Envoy closes a connection.
        defaults: for workloads that choose nothing.
    """

    version: str
    image: str
    envoy_image: str
    endpoint: str
    endpoint_mtls: str
    server_name: str = ""
    audience: str = "istio-ca"
    trust_domain: TrustDomain = field(default_factory=lambda: TrustDomain("cluster.local"))
    root_config_map: str = "istio-ca-root-cert"
    root_key: str = "root-cert.pem"
    namespace: str = "default"
    sidecars: Sidecars = Sidecars.NATIVE
    run_as_user: int | None = None
    listen_address: str = "0.0.0.0"  # noqa: S104 - peers come from the network; mTLS and policies guard the port
    max_connection_age: timedelta = MAX_CONNECTION_AGE
    defaults: Wishes = Wishes()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """What a workload's Envoy opens."""

    inbound: tuple[Inbound, ...]
    outbound: tuple[Outbound, ...]


def is_wanted(annotations: Mapping[str, Any]) -> bool:
    """Whether a pod with these annotations is to be injected.

    Raises:
        BadRequest: reason `annotation`, it says neither yes nor no.
    """
    said = annotations.get(INJECT, "true")
    if said not in {"true", "false"}:
        raise BadRequest("annotation", 'expected "true" or "false", in quotes')
    return bool(said == "true")


def unknown(annotations: Mapping[str, Any]) -> dict[str, str]:
    """Annotations that look like one of ours with a slip of the pen -> which one."""
    ours = {key for key in map(str, annotations) if key.startswith(DOMAIN)}
    near = {key: difflib.get_close_matches(key, CHOICES, n=1, cutoff=0.85) for key in ours - {*CHOICES, INJECTED}}
    return {key: found[0] for key, found in sorted(near.items()) if found}


def wishes(annotations: Mapping[str, Any], defaults: Wishes) -> tuple[Wishes, dict[str, str]]:
    """What a pod chooses, and what is wrong: annotation -> problem.

    A pod that names ports of one direction chooses for both, so that no default opens what it did not ask for.
    """
    problems = {
        key: "expected text; write numbers and booleans in quotes"
        for key in CHOICES
        if not isinstance(annotations.get(key, ""), str)
    }
    given = {key: value for key, value in annotations.items() if isinstance(value, str)}
    own = INBOUND in given or OUTBOUND in given
    chosen = Wishes(
        inbound=_words(given.get(INBOUND, "")) if own else defaults.inbound,
        outbound=_words(given.get(OUTBOUND, "")) if own else defaults.outbound,
        protocol=given.get(PROTOCOL, defaults.protocol),
        health_path=given.get(HEALTH, defaults.health_path),
    )
    return chosen, problems


def ports(chosen: Wishes, listen_address: str) -> tuple[Ports, dict[str, list[str]]]:
    """The ports that are meant, and what is wrong: annotation -> problems."""
    problems: dict[str, list[str]] = {}

    def read(key: str, parse: Callable[[str], T], items: tuple[str, ...]) -> tuple[T, ...]:
        found = []
        for item in items:
            try:
                found.append(parse(item))
            except BadRequest as error:
                problems.setdefault(key, []).append(f"{item}: {error.detail}")
        return tuple(found)

    protocol = read(PROTOCOL, _protocol, (chosen.protocol,))
    health = read(HEALTH, _health_path, (chosen.health_path,) if chosen.health_path else ())
    inbound = read(
        INBOUND,
        lambda text: parse_inbound(
            text,
            address=listen_address,
            protocol=protocol[0] if protocol else AppProtocol.HTTP1,
            health_path=health[0] if health else "",
        ),
        chosen.inbound,
    )
    return Ports(inbound=inbound, outbound=read(OUTBOUND, parse_outbound, chosen.outbound)), problems


def _words(text: str) -> tuple[str, ...]:
    """Items stand apart by white space, so that each can have a line of its own."""
    return tuple(text.split())


def _protocol(text: str) -> AppProtocol:
    try:
        return AppProtocol(text)
    except ValueError:
        raise BadRequest("annotation", f"expected {' or '.join(AppProtocol)}") from None


def _health_path(text: str) -> str:
    if not re.fullmatch(r"/\S*", text):
        raise BadRequest("annotation", "expected a path such as /healthz")
    return text

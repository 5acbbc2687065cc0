"""How ports and peers are spelt, in flags and in annotations alike. Pure; what is wrong is said, not where."""

from __future__ import annotations

import re
from typing import Final

from meshca.errors import BadRequest, ConfigError
from meshca.identity.spiffe_id import SpiffeId
from meshca.sidecar.service import AppProtocol, Inbound, Outbound

_REASON: Final = "ports"
_INBOUND: Final = re.compile(r"(\d{1,5}):(\d{1,5})")
_OUTBOUND: Final = re.compile(r"(\d{1,5})=(.+)")
_HOST_PORT: Final = re.compile(r"(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9._-]+)):(\d{1,5})")


def parse_inbound(
    text: str,
    *,
    address: str = "0.0.0.0",  # noqa: S104 - peers come from the network; mTLS and policies guard the port
    protocol: AppProtocol = AppProtocol.HTTP1,
    health_path: str = "",
) -> Inbound:
    """Read `PORT:APP_PORT`.

    Raises:
        BadRequest: reason `ports`.
    """
    match = _INBOUND.fullmatch(text)
    if match is None:
        raise BadRequest(_REASON, "expected PORT:APP_PORT, such as 8443:8080")
    try:
        return Inbound(
            port=int(match[1]),
            app_port=int(match[2]),
            address=address,
            app_protocol=protocol,
            health_path=health_path,
        )
    except ConfigError as error:
        raise BadRequest(_REASON, error.problems[0]) from None


def parse_outbound(text: str) -> Outbound:
    """Read `PORT=HOST:PORT,SPIFFE-ID`, further identities after further commas.

    Raises:
        BadRequest: reason `ports`, or what is wrong with an identity.
    """
    match = _OUTBOUND.fullmatch(text)
    place, *identities = match[2].split(",") if match else [""]
    if match is None or not identities:
        raise BadRequest(_REASON, "expected PORT=HOST:PORT,SPIFFE-ID, such as 9001=pay:8443,spiffe://td/ns/a/sa/b")
    host, port = parse_host_port(place)
    expected = tuple(map(SpiffeId.parse, identities))
    try:
        return Outbound(listen_port=int(match[1]), host=host, port=port, identities=expected)
    except ConfigError as error:
        raise BadRequest(_REASON, error.problems[0]) from None


def parse_host_port(text: str) -> tuple[str, int]:
    """Read `HOST:PORT`, an address of version 6 in brackets.

    Raises:
        BadRequest: reason `ports`.
    """
    match = _HOST_PORT.fullmatch(text)
    if match is None:
        raise BadRequest(_REASON, "expected HOST:PORT, such as payments.shop:8443 or [::1]:8443")
    return match[1] or match[2], int(match[3])

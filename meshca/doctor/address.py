"""An address as Istio writes it: `host:port`, with or without a scheme in front."""

from __future__ import annotations

import re
from dataclasses import dataclass

from meshca.errors import BadRequest

_ADDRESS = re.compile(
    r"(?:https?://)?(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9._-]+)):(?P<port>[0-9]{1,5})/?"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where somebody listens.

    Attributes:
        host: a name or an IP address, without brackets.
        port: 0 to 65535.
    """

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read `host:port`, `[IPv6]:port` or `https://host:port`; `parse(str(x)) == x`.

        Raises:
            BadRequest: reason `address`.
        """
        match = _ADDRESS.fullmatch(text)
        if match is None or int(match["port"]) > 65535:
            raise BadRequest("address", "expected host:port, such as meshca.istio-system.svc:15012")
        return cls(host=match["six"] or match["host"], port=int(match["port"]))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

"""Where the CA is: an address, and the name its certificate must carry."""

from __future__ import annotations

import re
from dataclasses import dataclass

from meshca.errors import BadRequest

_ADDRESS = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9._-]+)):(?P<port>[0-9]{1,5})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A TCP address.

    Attributes:
        host: a name or an IP address, without brackets.
        port: 0 to 65535; 0 only where we listen and any free port will do.
    """

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Target:
        """Read `host:port` or `[IPv6]:port`; `parse(str(x)) == x`.

        Raises:
            BadRequest: reason `address`.
        """
        match = _ADDRESS.fullmatch(text)
        if match is None or int(match["port"]) > 65535:
            raise BadRequest("address", "expected host:port, such as ca.example.org:15012 or [::1]:15012")
        return cls(host=match["six"] or match["host"], port=int(match["port"]))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

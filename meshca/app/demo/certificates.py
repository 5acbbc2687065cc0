"""What certificates an Envoy really holds, from its own administration page (`/certs`)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime

from meshca.errors import InvariantBroken


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A certificate that an Envoy presents.

    Attributes:
        spiffe_id: its one URI SAN.
        serial: hexadecimal, as in the ledger.
        not_after: its end.
    """

    spiffe_id: str
    serial: str
    not_after: datetime

    def __str__(self) -> str:
        return f"{self.spiffe_id}  until {self.not_after:%H:%M:%S}  serial {self.serial[:8]}..."


def held(page: str) -> frozenset[Held]:
    """The certificates in the text of `/certs`: one, unless a renewal is just going through Envoy.

    Raises:
        InvariantBroken: reason `demo_certs`, when there is none.
    """
    contexts = json.loads(page).get("certificates", [])
    found = frozenset(_leaf(entry) for context in contexts for entry in context.get("cert_chain", []))
    if not found:
        raise InvariantBroken("demo_certs", "envoy holds no certificate")
    return found


def _leaf(entry: dict[str, object]) -> Held:
    names = entry.get("subject_alt_names")
    uris = [str(name["uri"]) for name in names if "uri" in name] if isinstance(names, list) else []
    return Held(
        spiffe_id=", ".join(uris),
        serial=str(entry["serial_number"]),
        not_after=datetime.fromisoformat(str(entry["expiration_time"])),
    )

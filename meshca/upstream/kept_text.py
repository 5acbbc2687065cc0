"""Signing material as one text, its key included: what is kept is whole or not there.

The text must never reach an error text or a log.
"""

from __future__ import annotations

import json
from typing import Final

from meshca.authority.material import OpenKey, SigningMaterial, WireMaterial, certificate_id
from meshca.errors import ConfigError
from meshca.secret import Secret
from meshca.upstream.sound_root import root_of

RESTORE: Final = "restore it from a backup, or remove it if its root is not needed any more"


def name_of(material: SigningMaterial) -> str:
    """What it is kept as: one for each root, `<first 16 hex of the root's id>.json`."""
    return f"{certificate_id(root_of(material))[:16]}.json"


def to_text(material: SigningMaterial) -> str:
    """The text; it holds the key."""
    wire = material.to_wire()
    return json.dumps({"chain": wire.chain, "roots": wire.roots, "key": wire.key.reveal()}, indent=0)


def from_text(text: str | bytes, name: str, source: str, open_key: OpenKey | None = None) -> SigningMaterial:
    """What a text holds.

    Args:
        text: as `to_text` made it.
        name: that it is kept as.
        source: where it lies, for people.
        open_key: as for `SigningMaterial.from_wire`.

    Raises:
        ConfigError: it is damaged, or not what its name says, or its key is not where it leads.
        Unavailable: its key cannot be reached now.
    """
    try:
        parts = json.loads(text)
        wire = WireMaterial(chain=parts["chain"], roots=parts["roots"], key=Secret(parts["key"]))
        material = SigningMaterial.from_wire(wire, open_key)
        says = name_of(material)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, ConfigError):
        raise ConfigError(source, [f"is damaged; {RESTORE}"]) from None
    if name != says:
        raise ConfigError(source, [f"holds another root than its name says; {RESTORE}"])
    return material

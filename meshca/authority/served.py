"""Reads back a serving certificate that was given away, to see whether it still says what it should.

Whoever can write where it lies could have changed it, so nothing of it is believed: names, times, issuer and key
are compared with what we would sign now.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from meshca.authority.chain import leaf_signed_by
from meshca.authority.material import read_certificates, read_key, to_pem
from meshca.authority.serving import read_names
from meshca.authority.slot import Slot
from meshca.errors import ConfigError
from meshca.secret import Secret

_PUBLIC = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def fault(chain: str, key: Secret[str], roots: str, names: Sequence[str], slot: Slot) -> str:
    """Why a certificate must be made anew, whatever its age; empty when it need not.

    Checked: it parses, the key is its own, the current signer signed it, the certificates above it and the roots
    are the current ones, and its names are exactly these.

    Raises:
        ConfigError: the wanted names are not valid.
    """
    wanted = read_names(names)
    try:
        leaf, *above = read_certificates(chain.encode(), "chain")
        private = read_key(key.reveal().encode(), "key")
    except ConfigError:
        return "damaged"
    if leaf.public_key().public_bytes(*_PUBLIC) != private.public_key().public_bytes(*_PUBLIC):
        return "key of another certificate"
    if to_pem(*above) != "".join(slot.issuer.chain) or not leaf_signed_by(leaf, slot.issuer.certificate):
        return "another signer"
    if roots != slot.issuer.roots:
        return "other roots"
    return "" if _names(leaf) == list(wanted) else "other names"


def _names(leaf: x509.Certificate) -> list[x509.GeneralName]:
    try:
        return list(leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        return []


def validity(chain: str) -> tuple[datetime, datetime]:
    """When the first certificate of a chain begins and ends.

    Raises:
        ConfigError: it does not parse.
    """
    leaf = read_certificates(chain.encode(), "chain")[0]
    return leaf.not_valid_before_utc, leaf.not_valid_after_utc

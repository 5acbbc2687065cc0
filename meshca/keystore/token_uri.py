"""How a key in a PKCS#11 token is named: where its module is, which token, which key, and the file with the PIN.

The URI of RFC 7512 is handed between processes in place of the key; the PIN itself never is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote

from meshca.errors import ConfigError

_TEXT: Final = "[A-Za-z0-9._~/%-]+"  # what `quote` leaves and makes
_FORM: Final = re.compile(
    rf"pkcs11:token=({_TEXT});id=((?:%[0-9A-F]{{2}})+)\?module-path=({_TEXT})&pin-source=file:({_TEXT})"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A token, and how it is opened.

    Attributes:
        module: the vendor's library.
        label: of the token.
        pin_file: holds the user PIN.
    """

    module: Path
    label: str
    pin_file: Path


def to_uri(token: Token, key_id: str) -> str:
    """The name of a key.

    Args:
        token: that it is in.
        key_id: its CKA_ID in lower-case hexadecimal.
    """
    id_ = "".join(f"%{byte:02X}" for byte in bytes.fromhex(key_id))
    attributes = f"module-path={quote(str(token.module))}&pin-source=file:{quote(str(token.pin_file))}"
    return f"pkcs11:token={quote(token.label, safe='')};id={id_}?{attributes}"


def from_uri(uri: str) -> tuple[Token, str]:
    """Read what `to_uri` gave.

    Raises:
        ConfigError: it is another text.
    """
    found = _FORM.fullmatch(uri)
    if found is None:
        raise ConfigError("signing key", ["expected a key in PEM, or the pkcs11: URI that meshca writes for one"])
    label, id_, module, pin_file = found.groups()
    token = Token(module=Path(unquote(module)), label=unquote(label), pin_file=Path(unquote(pin_file)))
    return token, id_.replace("%", "").lower()

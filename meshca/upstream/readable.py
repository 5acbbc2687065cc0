"""What our library reads in a CA certificate, and Envoy or programs in Go do not: they verify the whole chain.

How a public key must be written is said by `public_key`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from cryptography import x509
from cryptography.x509.oid import ExtensionOID

# Visible characters without a dot or an at, and the dot-atom of RFC 5322 section 3.2.3.
_LABEL: Final = r"[!-\-/-?A-~]+"
_ATOM: Final = r"[\w!#$%&'*+/=?^`{|}~-]+"
_DOMAIN: Final = rf"{_LABEL}(?:\.{_LABEL})*"
_HOSTS: Final = re.compile(rf"(?:\.?{_DOMAIN})?")
_MAIL: Final = re.compile(rf"(?:{_ATOM}(?:\.{_ATOM})*@{_DOMAIN}|(?:\.?{_DOMAIN})?)", re.ASCII)
_NEVER_CRITICAL: Final = frozenset(  # RFC 5280 sections 4.2.1.1, 4.2.1.2 and 4.2.2.1
    {
        ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
        ExtensionOID.SUBJECT_KEY_IDENTIFIER,
        ExtensionOID.AUTHORITY_INFORMATION_ACCESS,
    }
)


def unreadable(certificate: x509.Certificate) -> Iterator[str]:
    """One line for each thing that others do not read."""
    for extension in certificate.extensions:
        if extension.critical and extension.oid in _NEVER_CRITICAL:
            yield f"its extension {extension.oid.dotted_string} is critical, which other programs refuse"
        if isinstance(extension.value, x509.NameConstraints):
            names = [*(extension.value.permitted_subtrees or ()), *(extension.value.excluded_subtrees or ())]
            if not all(_is_read(name, critical=extension.critical) for name in names):
                yield "its constraint on names is of a kind, or in a form, that other programs do not read"


def _is_read(name: x509.GeneralName, *, critical: bool) -> bool:
    if isinstance(name, x509.RFC822Name):
        return _MAIL.fullmatch(name.value) is not None
    if isinstance(name, x509.DNSName | x509.UniformResourceIdentifier):
        return _HOSTS.fullmatch(name.value) is not None
    if isinstance(name, x509.DirectoryName):  # nobody verifies ours below one of these but programs in Go
        return False
    return isinstance(name, x509.IPAddress) or not critical

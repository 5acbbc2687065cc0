"""Reads certificates that somebody shows or keeps, and says in words what is wrong with one.

Everything here is foreign: what does not parse is left out or said, never raised as a library's error.
"""

from __future__ import annotations

import ipaddress
import re
import warnings
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from meshca.authority.chain import find_path
from meshca.validity import ended, valid_at

_BLOCK = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
_UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
Certificates = tuple[x509.Certificate, ...]


def read_pem(text: str) -> Certificates:
    """The certificates of a text that parse."""
    return _read(match[0].encode() for match in _BLOCK.finditer(text))


def read_der(chain: Iterable[bytes]) -> Certificates:
    """The certificates that parse."""
    return _read(chain)


def _read(raw: Iterable[bytes]) -> Certificates:
    found: list[x509.Certificate] = []
    for one in raw:
        load = x509.load_pem_x509_certificate if one.startswith(b"-") else x509.load_der_x509_certificate
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the library warns of oddities that verifiers accept
            try:
                certificate = load(one)
                _ = certificate.not_valid_after_utc, certificate.subject, certificate.extensions
            except _UNREADABLE:
                continue
        found.append(certificate)
    return tuple(found)


def instant(when: datetime) -> str:
    """`2026-01-01T00:00:00Z`."""
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def living(certificates: Certificates, now: datetime) -> Certificates:
    """Those that have not ended."""
    return tuple(one for one in certificates if not ended(one.not_valid_after_utc, now))


def to_pem(certificates: Certificates) -> str:
    """PEM text."""
    return "".join(one.public_bytes(Encoding.PEM).decode() for one in certificates)


def fingerprint(certificate: x509.Certificate) -> str:
    """Lower-case hexadecimal SHA-256 of the DER."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def fingerprints(certificates: Certificates) -> frozenset[str]:
    """Of all."""
    return frozenset(map(fingerprint, certificates))


def names_of(leaf: x509.Certificate) -> tuple[str, ...]:
    """DNS names and IP addresses that a certificate is for."""
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    addresses = [str(address) for address in names.get_values_for_type(x509.IPAddress)]
    return (*names.get_values_for_type(x509.DNSName), *addresses)


def is_for(leaf: x509.Certificate, host: str) -> bool:
    """Whether a client that calls by this name accepts the certificate's names (RFC 6125 section 6.4)."""
    try:
        wanted = str(ipaddress.ip_address(host))
    except ValueError:
        wanted = host.lower().removesuffix(".")
    starred = "*." + wanted.partition(".")[2]
    return any(name.lower() in {wanted, starred} for name in names_of(leaf))


def path_fault(
    leaf: x509.Certificate, others: Sequence[x509.Certificate], roots: Certificates, now: datetime
) -> str:
    """Why a client that trusts these roots refuses the certificate now; empty when it does not.

    Checked: who signed whom up to a root, and that each is valid. Not checked: usages and constraints.
    """
    path = find_path(leaf, others, roots)
    if not path:
        return "it leads to no published root"
    for one in path:
        if not valid_at(one.not_valid_before_utc, one.not_valid_after_utc, now):
            over = ended(one.not_valid_after_utc, now)
            when = one.not_valid_after_utc if over else one.not_valid_before_utc
            which = "it" if one is leaf else one.subject.rfc4514_string() or "an issuer above it"
            return f"{which} {'ended' if over else 'begins only'} at {instant(when)}"
    return ""

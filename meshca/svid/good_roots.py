"""The roots that may be published: each good one, whatever stands beside it.

Where agents and kubelets read roots, one certificate that has ended, is damaged or is no CA's must not hide the
others, and a ClusterTrustBundle takes PEM blocks of CA certificates only: no other text, no headers, none twice.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from meshca.validity import ended

# A block without an end stops where the next begins, so that it cannot swallow a good one.
_BLOCK = re.compile(
    r"-----BEGIN ([^-\n]*)-----(?:(?!-----BEGIN ).)*?(?:-----END \1-----|(?=-----BEGIN )|\Z)", re.DOTALL
)
_UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class GoodRoots:
    """What is left of a text.

    Attributes:
        pem: the good certificates in their order, each once; empty when there is none.
        left_out: why each of the others is not among them.
    """

    pem: str
    left_out: tuple[str, ...]


def good_roots(text: str, now: datetime) -> GoodRoots:
    """The CA certificates of a text that have not ended; one that begins later is kept, for the day it does.

    Not checked: who signed them.
    """
    good: dict[str, None] = {}
    left_out: list[str] = []
    for number, block in enumerate(_BLOCK.finditer(text), 1):
        try:
            certificate = _certificate(block[0])
        except _UNREADABLE:
            left_out.append(f"certificate {number} is damaged")
            continue
        if not _is_ca(certificate):
            left_out.append(f"certificate {number} is no CA certificate")
        elif ended(certificate.not_valid_after_utc, now):
            left_out.append(f"certificate {number} ended at {certificate.not_valid_after_utc.isoformat()}")
        else:
            good[certificate.public_bytes(Encoding.PEM).decode()] = None
    return GoodRoots(pem="".join(good), left_out=tuple(left_out))


def other_roots(text: str, ours: str, now: datetime) -> tuple[str, ...]:
    """The sha256 of each good root of a text that is not among ours: whom a mesh may still trust beside us."""
    known = {certificate.public_bytes(Encoding.DER) for certificate in _good(ours, now)}
    return tuple(
        certificate.fingerprint(hashes.SHA256()).hex()
        for certificate in _good(text, now)
        if certificate.public_bytes(Encoding.DER) not in known
    )


def _good(text: str, now: datetime) -> list[x509.Certificate]:
    pem = good_roots(text, now).pem
    return x509.load_pem_x509_certificates(pem.encode()) if pem else []


def _certificate(block: str) -> x509.Certificate:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library warns of oddities that verifiers accept
        certificate = x509.load_pem_x509_certificate(block.encode())
        _ = certificate.public_key(), certificate.subject, certificate.not_valid_after_utc
    return certificate


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (*_UNREADABLE, x509.ExtensionNotFound):
        return False

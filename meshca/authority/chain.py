"""The way from a signing certificate up to a root, found by signatures and not by the order in a file.

Checks nothing but who signed whom; validity, constraints and usage are `authority.faults`.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import dsa, rsa

from meshca.public_key import LARGEST_RSA

Path = tuple[x509.Certificate, ...]
_LONGEST_EXPONENT: Final = 64  # bits: what real keys have, and what OpenSSL bears for large ones
_REMEMBERED: Final = 8192  # pairs: a hostile crowd of 64 has 4096, and is walked from each of its own


def find_path(
    start: x509.Certificate, others: Sequence[x509.Certificate], roots: Sequence[x509.Certificate]
) -> Path:
    """From the start up to and with a root; empty when no way leads to one.

    A root that is at hand ends the way, so that a cross-signed twin of it makes no detour.
    """
    return _upwards((start,), (*roots, *others), frozenset(roots), set())


@functools.lru_cache(maxsize=_REMEMBERED)
def signed_by(child: x509.Certificate, parent: x509.Certificate) -> bool:
    """As `leaf_signed_by`, and remembered: CA certificates are met again and again."""
    return leaf_signed_by(child, parent)


def leaf_signed_by(child: x509.Certificate, parent: x509.Certificate) -> bool:
    """Whether the parent's name and key are those that signed the child; never by a key that takes long to use."""
    if _slow(parent):
        return False
    try:
        child.verify_directly_issued_by(parent)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _upwards(
    path: Path, candidates: Path, roots: frozenset[x509.Certificate], tried: set[x509.Certificate]
) -> Path:
    """The way on; each certificate is tried once, or hostile ones that sign each other would take for ever."""
    if path[-1] in roots:
        return path
    tried.add(path[-1])
    for parent in sorted(candidates, key=lambda one: _misnamed(path[-1], one)):
        if parent not in tried and signed_by(path[-1], parent):
            found = _upwards((*path, parent), candidates, roots, tried)
            if found:
                return found
    return ()


def _slow(certificate: x509.Certificate) -> bool:
    """Whether a signature by it could take long to verify: larger than any that `public_key.allowed` allows."""
    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        return key.key_size > LARGEST_RSA or key.public_numbers().e.bit_length() > _LONGEST_EXPONENT
    return isinstance(key, dsa.DSAPublicKey)


def _misnamed(child: x509.Certificate, parent: x509.Certificate) -> bool:
    """Whether key identifiers say that it was another; a hint only, as whoever signs may write what he likes."""
    named = next(
        (one.value for one in child.extensions if isinstance(one.value, x509.AuthorityKeyIdentifier)), None
    )
    mine = next((one.value for one in parent.extensions if isinstance(one.value, x509.SubjectKeyIdentifier)), None)
    return named is not None and mine is not None and named.key_identifier not in {None, mine.digest}

"""The way from a signing certificate up to a root, found by signatures and not by the order in a file.

Checks nothing but who signed whom; validity, constraints and usage are `authority.faults`.
"""

from __future__ import annotations

from collections.abc import Sequence

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

Path = tuple[x509.Certificate, ...]


def find_path(
    start: x509.Certificate, others: Sequence[x509.Certificate], roots: Sequence[x509.Certificate]
) -> Path:
    """From the start up to and with a root; empty when no way leads to one.

    A root that is at hand ends the way, so that a cross-signed twin of it makes no detour.
    """
    return _upwards((start,), (*roots, *others), frozenset(roots), set())


def signed_by(child: x509.Certificate, parent: x509.Certificate) -> bool:
    """Whether the parent's name and key are those that signed the child."""
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
    for parent in candidates:
        if parent not in tried and signed_by(path[-1], parent):
            found = _upwards((*path, parent), candidates, roots, tried)
            if found:
                return found
    return ()

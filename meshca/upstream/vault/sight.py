"""A look at the mount, judged: which roots count, and below which of them the issuer signs."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from meshca.authority.material import certificate_id
from meshca.authority.outside import name_and_key
from meshca.config.vault import VaultRoots
from meshca.errors import MeshcaError
from meshca.upstream.sound_root import root_faults
from meshca.upstream.vault.faults import Fault, failure
from meshca.upstream.vault.mount import Issuer, Look
from meshca.upstream.vault.trust import accepted, pinned_by_file
from meshca.validity import spent


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What a look means.

    Attributes:
        look: the mount.
        roots: that count, sound, in the order of the mount.
        root: of these, the one above the issuer that signs; None when its root does not count.
        problem: what keeps a root from counting.
    """

    look: Look
    roots: tuple[x509.Certificate, ...]
    root: x509.Certificate | None
    problem: MeshcaError | None

    @property
    def digest(self) -> str:
        """Equal when nothing has changed."""
        digest = hashlib.sha256(self.look.digest.encode())
        for root in self.roots:
            digest.update(root.public_bytes(Encoding.DER))
        return digest.hexdigest()

    def issuer(self, signer: str) -> Issuer | None:
        """The issuer of this name and key; of several the one that ends last."""
        found = [one for one in self.look.issuers if name_and_key(one.certificate) == signer]
        return max(found, key=lambda one: one.certificate.not_valid_after_utc, default=None)

    def issuer_below(self, root: str) -> Issuer | None:
        """The issuer that is configured, if it is below this root; no other is ever asked."""
        path = self.look.current.path(self.roots)
        return self.look.current if path and certificate_id(path[-1]) == root else None


def judged(
    config: VaultRoots,
    found: Look,
    *,
    known: Sequence[x509.Certificate],
    mesh: Collection[str] = (),
    now: datetime,
) -> Sight:
    """Judge a look. Verifying what a hostile mount has may take seconds: not for an event loop.

    Args:
        config: which roots count.
        found: the mount.
        known: the roots that counted before.
        mesh: ids of the roots that the mesh trusts.
        now: the present instant.

    Raises:
        ConfigError: the file of roots cannot be used.
    """
    pinned = pinned_by_file(config)
    every = tuple(dict.fromkeys((*pinned, *found.roots)))
    current = _above(found.current, every)
    counted = accepted(config, found.roots, pinned=pinned, current=current, known=known, mesh=mesh)
    older_first = sorted(counted, key=lambda root: root not in known)  # of two with one subject the older stays
    faults = {root: _faults(root, older_first[:place], now) for place, root in enumerate(older_first)}
    sound = tuple(root for root in counted if not faults[root])
    top = _above(found.current, sound, counted, every)
    told = [fault for root in counted for fault in faults[root]]
    if top is None:
        told.append("no chain of signatures leads from the issuer to a root; import its root, or pin it by a file")
    problem = failure(Fault.ANSWER, "; ".join(told)) if told else None
    if top is not None and top not in counted:
        problem = failure(Fault.ROOT_UNPINNED, f"its fingerprint is {certificate_id(top)}")
    return Sight(look=found, roots=sound, root=top if top in sound else None, problem=problem)


def _above(issuer: Issuer, *choices: Sequence[x509.Certificate]) -> x509.Certificate | None:
    """The root above an issuer, which may be cross-signed: one of the first choice, else of the next."""
    return next((path[-1] for roots in choices if (path := issuer.path(roots))), None)


def _faults(root: x509.Certificate, company: Sequence[x509.Certificate], now: datetime) -> list[str]:
    faults = root_faults([root], company)
    if not any(isinstance(one.value, x509.BasicConstraints) and one.value.ca for one in root.extensions):
        faults.append(f"certificate {root.subject.rfc4514_string()!r}: no CA; take it out of the mount")
    if spent(root.not_valid_after_utc, now):
        faults.append(f"certificate {root.subject.rfc4514_string()!r}: expired; take it out of the mount")
    return faults

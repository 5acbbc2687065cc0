"""What keeps a root from being trusted beside others, found before anything changes.

Checked: a key that is strong enough, that other programs read it, a subject that no other root has with another
key, and that a trial leaf below it verifies. Not checked here: what `authority.faults` finds in signing material.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from cryptography import x509

from meshca.authority.chain import find_path
from meshca.authority.faults import find_faults
from meshca.authority.keys import new_key
from meshca.authority.material import SigningMaterial, certificate_id
from meshca.authority.slot import Slot
from meshca.errors import BadRequest, ConfigError
from meshca.identity.key_type import KeyType
from meshca.identity.spiffe_id import TrustDomain
from meshca.public_key import allowed
from meshca.upstream.ca_certificates import intermediate_life, make_intermediate
from meshca.upstream.ca_set import CaSet
from meshca.upstream.readable import unreadable

_TRIAL = timedelta(hours=1)  # of an intermediate that signs one trial leaf and is dropped


def root_of(material: SigningMaterial) -> x509.Certificate:
    """The root below which sound material signs."""
    return find_path(material.certificate, material.others, material.roots)[-1]


def root_faults(roots: Sequence[x509.Certificate], company: Collection[x509.Certificate]) -> list[str]:
    """One line for each root that is weak, not read by others, or of a subject that another has with another key.

    Args:
        roots: that shall be trusted.
        company: that are trusted or kept already.
    """
    faults = []
    for place, root in enumerate(roots):
        try:
            allowed(root.public_key())
        except BadRequest as refused:
            faults.append(f"{_name(root)}: too weak, or not known, for a root: {refused.detail}")
        faults += [f"{_name(root)}: {fault}" for fault in unreadable(root)]
        faults += [
            f"{_name(root)}: its subject is in use by another root with another key (sha256"
            f" {certificate_id(other)}); make it with a subject of its own"
            for other in dict.fromkeys((*roots[:place], *company))
            if other.subject == root.subject and other.public_key() != root.public_key()
        ]
    return faults


def sound(  # noqa: PLR0913 - what was read, and for whom
    ca: CaSet,
    problems: list[str],
    *,
    company: Collection[x509.Certificate],
    trust_domain: TrustDomain,
    now: datetime,
    root_keeps_apart: bool = False,
) -> SigningMaterial | None:
    """The signing material of a CA that was plugged in, once nothing is wrong with it.

    Args:
        ca: what was read.
        problems: of reading it; gets one line for each further fault, and the material is given if there is none.
        company: roots that are trusted or kept already.
        trust_domain: that it shall sign for.
        now: the present instant.
        root_keeps_apart: whether a root with its key signs an intermediate of ours, and no leaves.
    """
    below = int(root_keeps_apart and any(certificate in ca.roots for certificate in ca.certificates[:1]))
    problems += find_faults(ca.certificates, ca.roots, ca.key, trust_domain, now, below=below)
    problems += root_faults(ca.roots, company)
    if problems:
        return None
    material = ca.material()
    problems += trial_faults(_below(material, trust_domain, now) if below else material, trust_domain, now)
    return None if problems else material


def trial_faults(material: SigningMaterial, trust_domain: TrustDomain, now: datetime) -> tuple[str, ...]:
    """What keeps material from signing a leaf that verifies; nothing when it does."""
    try:
        Slot.prove(material, trust_domain, now)
    except ConfigError as error:
        return error.problems
    return ()


def _below(root: SigningMaterial, trust_domain: TrustDomain, now: datetime) -> SigningMaterial:
    """An intermediate below a root, for one trial."""
    key = new_key(KeyType.EC_P256)
    life = intermediate_life(root.certificate, now, _TRIAL)
    made = make_intermediate(key.public_key(), trust_domain, root.certificate, root.key, life)
    return SigningMaterial(certificate=made, others=(), roots=root.roots, key=key)


def _name(root: x509.Certificate) -> str:
    return f"certificate {root.subject.rfc4514_string()!r}"

"""The check of leaves that Vault signs in our place: one is asked for and judged as the server does.

Its key is dropped. The dry intermediate of the check before stands for the server's own, beside which a leaf is
signed.
"""

from __future__ import annotations

from typing import Final

from meshca import csr
from meshca.admission.model import Grant
from meshca.authority.outside import TOO_SHORT, Commission
from meshca.authority.slot import Slot
from meshca.authority.straggling import when
from meshca.config.vault import VaultConfig
from meshca.doctor.finding import Said, Unseen, ok, wrong
from meshca.doctor.vault_issuer import seen
from meshca.doctor.vault_place import VaultPlace, at_fault
from meshca.duration import format_duration
from meshca.errors import Unavailable
from meshca.identity.key_type import KeyType
from meshca.identity.spiffe_id import SpiffeId
from meshca.svid.draft import Issued, Stamp
from meshca.svid.lint import NO_OTHER
from meshca.svid.profile import BACKDATE
from meshca.upstream.vault.faults import Fault, fault_of
from meshca.upstream.vault.leaves import body_of, path_of
from meshca.upstream.vault.policy import STRANGE

ROLE: Final = "make the role by the command that `meshca vault policy` prints"
LONGER: Final = f"raise max_ttl of the role, or {ROLE}"
_DRAFTED: Final = 1 << 127  # serial of a draft that we never sign: Vault gives its own


async def leaf(place: VaultPlace) -> Said:
    """What the role signs for a throw-away key is what was asked for, for as long as the server gives at most."""
    if not place.dry:
        raise Unseen("no intermediate of ours was signed beside it", "see what `vault-signature` says")
    private, key = csr.fresh_key(KeyType.EC_P256)
    asked = _commission(place, key)
    try:
        issued = await _signed(place, asked, csr.request(private))
    except Unavailable as error:
        return _refused(place, error)
    told = f"a throw-away leaf, serial {issued.serial}, until {when(issued.not_after)}"
    if issued.not_after == asked.draft.not_after:
        return ok(f"{told}; it is as asked for, and its key is gone")
    lifetime = format_duration(place.leaf_lifetime)
    return wrong(f"{told}: shorter than the {lifetime} of svid.max_lifetime", LONGER)


def _commission(place: VaultPlace, key: csr.ProvenKey) -> Commission:
    now, identity = place.clock.now(), _identity(place)
    slot = Slot.prove(place.dry[-1], place.trust_domain, now)
    grant = Grant(
        identity=identity, max_lifetime=place.leaf_lifetime, key_types=frozenset({key.key_type}), rule="dry leaf"
    )
    draft = slot.draft(grant, key, place.leaf_lifetime, Stamp(serial=_DRAFTED, now=now, backdate=BACKDATE))
    return Commission(slot=slot, draft=draft, key=key, identity=identity)


async def _signed(place: VaultPlace, asked: Commission, request: str) -> Issued:
    role = place.config.sign_leaves
    assert role is not None  # noqa: S101 - the table of checks has this one only with a role
    wish = asked.wish(request)
    current = (await seen(place)).look.current
    answer = await place.visit.call("post", path_of(place.config.mount, current, role.role), body_of(wish))
    return asked.judge(answer.data.text("certificate"), place.clock.now())


def _refused(place: VaultPlace, error: Unavailable) -> Said:
    if error.reason == "leaf_issuer":
        return wrong(error.detail, "give another issuer in upstream.issuer")
    if error.reason == "leaf_answer":
        if TOO_SHORT in error.detail:
            return wrong(error.detail, LONGER)
        return wrong(error.detail, *(_without_addresses(place.config) if NO_OTHER in error.detail else ()), ROLE)
    said = at_fault(error)
    if fault_of(error) is not Fault.BAD_REQUEST:
        return said
    asked = f"the role has to allow a P-256 key, {_identity(place)} and {format_duration(place.leaf_lifetime)}"
    return wrong(said.found, *said.mend, asked, ROLE)


def _identity(place: VaultPlace) -> SpiffeId:
    return SpiffeId(place.trust_domain, f"/ns/{STRANGE}/sa/{STRANGE}")


def _without_addresses(config: VaultConfig) -> tuple[str, ...]:
    """What takes the addresses of CA certificates, CRLs and OCSP out of leaves; a role cannot."""
    none = "issuing_certificates= crl_distribution_points= ocsp_servers="
    return (
        "addresses of the mount or its issuer are not wanted in leaves; take them out, or give another mount:",
        f"bao write {config.mount}/config/urls {none}",
        f"bao patch {config.mount}/issuer/{config.issuer} {none}",
    )

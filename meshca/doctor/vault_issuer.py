"""Checks of the issuer in Vault that signs for us: does its root count, may it sign, and what does it sign.

The last one has a CA certificate signed for a key that is thrown away: nothing else here changes the server.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from meshca.authority.material import certificate_id
from meshca.authority.straggling import when
from meshca.doctor.finding import Said, Unseen, ok, unknown, wrong
from meshca.doctor.vault_place import VaultPlace, at_fault, of
from meshca.duration import format_duration
from meshca.errors import ConfigError, Unavailable
from meshca.upstream.vault.faults import TABLE, Fault, failure, fault_of
from meshca.upstream.vault.mount import look
from meshca.upstream.vault.sight import Sight, judged
from meshca.upstream.vault.signing import Signing

USAGES: Final = frozenset(
    {"read-only", "issuing-certificates", "crl-signing", "ocsp-signing"}
)  # API of the engine
SLACK: Final = timedelta(
    minutes=2
)  # that what was signed may end before what was asked for: a minute is never asked for


async def seen(place: VaultPlace) -> Sight:
    """The mount, judged as the server does.

    Raises:
        ConfigError: the file of roots cannot be used.
        Unavailable: reason `vault_<fault>`.
    """
    found = await look(place.client, place.config.mount, place.config.issuer)
    return judged(place.config.roots, found, known=place.known, now=place.clock.now())


async def root(place: VaultPlace) -> Said:
    """The issuer is there, below a root that counts, and lasts longer than what it is to sign."""
    try:
        sight = await seen(place)
    except ConfigError as error:
        return wrong(error.detail, "mend upstream.roots.file")
    except Unavailable as error:
        return at_fault(error)
    if sight.root is None or sight.problem is not None:
        return at_fault(sight.problem or failure(Fault.ISSUER))
    ends = min(one.not_valid_after_utc for one in sight.look.current.path(sight.roots))
    told = f"{certificate_id(sight.root)[:16]} counts; it and all below it last until {when(ends)}"
    if ends - place.clock.now() >= place.config.intermediate_lifetime:
        return ok(told)
    lifetime = format_duration(place.config.intermediate_lifetime)
    return wrong(
        f"{told}, less than upstream.intermediate_lifetime ({lifetime})",
        "make another root or issuer in time, or ask for less in upstream.intermediate_lifetime",
    )


async def issuer(place: VaultPlace) -> Said:
    """The issuer may sign, and was not revoked."""
    path = f"{place.config.mount}/issuer/{place.config.issuer}"
    try:
        data = (await place.visit.call("get", path)).data
    except Unavailable as error:
        if fault_of(error) is Fault.FORBIDDEN:
            return unknown("its usage is not readable by our policy", f"read on {path} shows it")
        return at_fault(error)
    if data.flag("revoked"):
        return wrong(f"{path} is revoked, for good", "give another issuer in upstream.issuer")
    usage = data.text("usage")  # shown, and in a command that is pasted: so only of words that we know
    if not USAGES.issuperset(usage.split(",")):
        return of(Fault.ANSWER, f"the usage of {path} is none that is known: {', '.join(sorted(USAGES))}")
    if "issuing-certificates" not in usage.split(","):
        return wrong(
            f"{path} may not sign; its usage is {usage}", f"bao patch {path} usage={usage},issuing-certificates"
        )
    return ok(f"{path} may sign; its usage is {usage}")


async def signature(place: VaultPlace) -> Said:
    """What it signs for a throw-away key is exactly what was asked for; the key is dropped."""
    try:
        sight = await seen(place)
        if sight.root is None:
            raise Unseen("nothing is signed below a root that does not count", "see what `vault-root` says")
        signing = Signing(place.config, place.visit, place.trust_domain, place.clock)
        current = sight.look.current
        material = await signing.below(current, sight.roots, kind="dry intermediate")
    except ConfigError as error:
        return unknown(error.detail, "see what `vault-root` says")
    except Unavailable as error:
        return at_fault(error)
    place.dry.append(material)
    ends = material.certificate.not_valid_after_utc
    told = f"a throw-away intermediate, serial {material.certificate.serial_number:x}, until {when(ends)}"
    if ends + SLACK >= place.clock.now() + place.config.intermediate_lifetime:
        return ok(f"{told}; it is as asked for, and its key is gone")
    asked = format_duration(place.config.intermediate_lifetime)
    return wrong(f"{told}: shorter than the {asked} that were asked for", TABLE[Fault.ANSWER].remedy)

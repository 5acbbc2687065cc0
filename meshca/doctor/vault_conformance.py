"""Facts about an operator's own server that meshca relies on, each seen by asking it, not by its version.

No harm: only intermediates for keys that are thrown away are signed, `SIGNED` of them. A fact that differs between
servers and that meshca copes with either way is ok, and says which way it is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509

from meshca.authority.chain import signed_by
from meshca.authority.keys import new_key
from meshca.authority.straggling import when
from meshca.doctor.finding import Said, ok, unknown, wrong
from meshca.doctor.vault_issuer import seen
from meshca.doctor.vault_place import VaultPlace, at_fault
from meshca.errors import Unavailable
from meshca.identity.key_type import KeyType
from meshca.upstream.vault.answer import Answer
from meshca.upstream.vault.faults import Fault, fault_of
from meshca.upstream.vault.mount import certificates, chain_of, look
from meshca.upstream.vault.policy import STRANGE
from meshca.upstream.vault.signed import Wish, judge

SIGNED: Final = 2  # intermediates
MODEST: Final = timedelta(hours=1)
ENDLESS: Final = timedelta(days=36_500)  # beyond every issuer and every mount's maximum
SECOND: Final = timedelta(seconds=1)
ADAPT: Final = "compare the server's version with docs/operations/vault.md"


class Given:
    """An intermediate that was signed once, and what it was asked for.

    Attributes:
        wish: that was sent.
        answer: that came.
        certificate: in it.
    """

    def __init__(self, wish: Wish, answer: Answer) -> None:
        self.wish = wish
        self.answer = answer
        self.certificate: x509.Certificate = certificates((answer.data.text("certificate"),))[0]

    def names(self, kind: type[x509.GeneralName]) -> list[str]:
        """Its alternative names of one kind."""
        try:
            found = self.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            return []
        return [str(one.value) for one in found if isinstance(one, kind)]


class Trial:
    """A place, and what it signs: each intermediate once, whichever fact asks first."""

    def __init__(self, place: VaultPlace) -> None:
        self.place = place
        self._given: dict[timedelta, Given | Unavailable] = {}

    async def signed(self, lifetime: timedelta = MODEST) -> Given:
        """What the server signs for a new key.

        Raises:
            Unavailable: reason `vault_<fault>`, also when it is asked about again.
        """
        if lifetime not in self._given:
            self._given[lifetime] = await self._sign(lifetime)
        found = self._given[lifetime]
        if isinstance(found, Unavailable):
            raise found
        return found

    async def _sign(self, lifetime: timedelta) -> Given | Unavailable:
        config = self.place.config
        wish = Wish(
            key=new_key(KeyType.EC_P256),
            common_name=STRANGE,
            trust_domain=self.place.trust_domain,
            lifetime=lifetime,
        )
        path = f"{config.mount}/issuer/{config.issuer}/sign-intermediate"
        try:
            return Given(wish, await self.place.visit.call("post", path, wish.body()))
        except Unavailable as error:
            return error


async def open_issuers(trial: Trial) -> Said:
    """Issuers are read without a login, so that roots are seen while a login fails."""
    config = trial.place.config
    found = await look(trial.place.client, config.mount, config.issuer)
    return ok(f"{len(found.issuers)} read without a login")


async def unknown_issuer(trial: Trial) -> Said:
    """An issuer that is not there is told from a server that fails."""
    try:
        await trial.place.client.call("get", f"{trial.place.config.mount}/issuer/{STRANGE}/json")
    except Unavailable as error:
        if fault_of(error) is Fault.ISSUER:
            return ok("told as such")
        return wrong(f"told as {error.reason}", ADAPT)
    return wrong(f"an issuer {STRANGE} that nobody made is given", ADAPT)


async def issuer_in_path(trial: Trial) -> Said:
    """The issuer that the path names has signed."""
    given = await trial.signed()
    current = (await seen(trial.place)).look.current
    if signed_by(given.certificate, current.certificate):
        return ok(f"{trial.place.config.issuer} has signed")
    return wrong(f"another than {trial.place.config.issuer} has signed", ADAPT)


async def subject(trial: Trial) -> Said:
    """Our subject is written as it was asked for."""
    given = await trial.signed()
    told = given.certificate.subject.rfc4514_string()
    return ok(told) if given.certificate.subject == given.wish.subject else wrong(f"it is {told}", ADAPT)


async def one_uri(trial: Trial) -> Said:
    """Its one URI is the trust domain's SPIFFE ID."""
    found = (await trial.signed()).names(x509.UniformResourceIdentifier)
    return ok(found[0]) if found == [trial.place.trust_domain.id] else wrong(f"it has {found or 'none'}", ADAPT)


async def no_dns_name(trial: Trial) -> Said:
    """The common name does not become a DNS name."""
    found = (await trial.signed()).names(x509.DNSName)
    return wrong(f"it has {', '.join(found)}", ADAPT) if found else ok("none")


async def path_length(trial: Trial) -> Said:
    """It is a CA below which there can be no other."""
    extensions = (await trial.signed()).certificate.extensions
    found = next((one.value for one in extensions if isinstance(one.value, x509.BasicConstraints)), None)
    if found is not None and found.ca and found.path_length == 0:
        return ok("CA, path length 0")
    return wrong(f"{found}", ADAPT)


async def chain_shape(trial: Trial) -> Said:
    """What `ca_chain` begins with; both shapes are read."""
    given = await trial.signed()
    chain = certificates(given.answer.data.texts("ca_chain"))
    if not chain:
        return ok("ca_chain is empty; issuing_ca is read")
    return ok("begins with the new certificate" if chain[0] == given.certificate else "begins with the issuer")


async def root_in_chain(trial: Trial) -> Said:
    """Whether the answer has the root; where it lacks, that of the mount or of upstream.roots.file is taken."""
    chain = chain_of((await trial.signed()).answer.data)
    return ok("the root is in it" if any(signed_by(one, one) for one in chain) else "the root lacks in it")


async def judged(trial: Trial) -> Said:
    """The whole answer passes the judgement that a real one must pass."""
    given, sight = await trial.signed(), await seen(trial.place)
    above = (*chain_of(given.answer.data), sight.look.current.certificate, *sight.look.current.others)
    _, problems = judge(given.wish, given.certificate, above, sight.roots, trial.place.clock.now())
    return wrong("; ".join(problems), ADAPT) if problems else ok("nothing is wrong with it")


async def beyond_the_end(trial: Trial) -> Said:
    """What becomes of a lifetime beyond the issuer's end and the mount's maximum; meshca never asks for one."""
    try:
        given = await trial.signed(ENDLESS)
    except Unavailable as error:
        if fault_of(error) is Fault.BAD_REQUEST:
            return ok("refused")
        raise
    current = (await seen(trial.place)).look.current.certificate
    return ok(_ending(given.certificate.not_valid_after_utc, current.not_valid_after_utc))


def _ending(given: datetime, issuers: datetime) -> str:
    if given > issuers + SECOND:
        return f"signed beyond the issuer's end ({when(issuers)}), until {when(given)}"
    if given >= issuers - SECOND:
        return f"cut short to the issuer's end ({when(issuers)})"
    return f"cut short by the mount's maximum to {when(given)}, before the issuer's end"


async def renewal(trial: Trial) -> Said:
    """Our token can be made to last, or is replaced by a login in its time."""
    token = await trial.place.visit.token()
    if not token.renewable:
        return ok("not renewable: a login replaces it at two thirds of its life")
    seconds = (await trial.place.visit.call("post", "auth/token/renew-self", {})).auth.seconds("lease_duration")
    return ok(f"renewed for {seconds} s")


async def warnings(trial: Trial) -> Said:
    """What the server remarks on a signature; it is logged and changes nothing."""
    found = (await trial.signed()).answer.warnings
    return ok(" / ".join(found) if found else "none")


def _telling(fact: Callable[[Trial], Awaitable[Said]]) -> Callable[[Trial], Awaitable[Said]]:
    """A fact whose faults are told in the words of the table."""

    async def told(trial: Trial) -> Said:
        try:
            return await fact(trial)
        except Unavailable as error:
            said = at_fault(error)
            return unknown(said.found, *said.mend)

    return told


FACTS: Final[Mapping[str, Callable[[Trial], Awaitable[Said]]]] = {
    name: _telling(fact)
    for name, fact in {
        "open-issuers": open_issuers,
        "unknown-issuer": unknown_issuer,
        "issuer-in-path": issuer_in_path,
        "subject": subject,
        "one-uri": one_uri,
        "no-dns-name": no_dns_name,
        "path-length": path_length,
        "chain-shape": chain_shape,
        "root-in-chain": root_in_chain,
        "judged": judged,
        "beyond-the-end": beyond_the_end,
        "token-renewal": renewal,
        "warnings": warnings,
    }.items()
}

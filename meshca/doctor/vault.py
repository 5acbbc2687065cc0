"""Checks of a Vault and of our way into it: is it there and awake, who are we, may we do what we need and no more.

Nothing is changed: what is asked is read. The one exception, a dry signature, is `doctor.vault_issuer`'s.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import urlsplit

from meshca.config.vault import VaultConfig
from meshca.doctor.finding import Said, ok, unknown, wrong
from meshca.doctor.vault_place import VaultPlace, at_fault, of
from meshca.duration import format_duration
from meshca.errors import Unavailable
from meshca.upstream.vault.faults import Fault, fault_of
from meshca.upstream.vault.policy import excesses, needs

APART: Final = timedelta(
    seconds=30
)  # NotBefore of a leaf that Vault signs is 30 s back: beyond it, that is in our future
TOO_FAR: Final = timedelta(minutes=2)
POLICY: Final = "give our login the policy below, and no other (`meshca vault policy` prints how)"
LEAST: Final = "what is needed; nothing broader was found"
LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "[::1]"})
_DENIED: Final = frozenset({"deny"})


async def server(place: VaultPlace) -> Said:
    """It answers, is initialised and unsealed."""
    try:
        said = (await place.health()).whole
    except Unavailable as error:
        return at_fault(error)
    version = said.text("version")
    if not said.flag("initialized"):
        return of(Fault.UNINITIALIZED, f"version {version}")
    if said.flag("sealed"):
        return of(Fault.SEALED, f"version {version}")
    standby = ", a standby" if said.flag("standby") or said.flag("performance_standby") else ""
    found = ok(f"{place.config.address}, version {version}{standby}")
    return Said(verdict=found.verdict, found=found.found, mend=place.notes)


async def tls(place: VaultPlace) -> Said:
    """What comes from the server is its own, and nobody reads along."""
    config = place.config
    parts = urlsplit(config.address or "")
    if parts.scheme == "http":
        if parts.netloc.rpartition(":")[0] in LOOPBACK:
            return ok("http, on this machine only")
        return wrong(
            "http: anybody on the way reads our token and forges the answers",
            "give an https address in upstream.address and take upstream.allow_http out",
        )
    try:
        await place.health()
    except Unavailable as error:
        if fault_of(error) is Fault.UNTRUSTED:
            return at_fault(error)
        return unknown("no answer over TLS", "see what `vault-server` says")
    return ok(f"https, verified by {_verified_by(config)}")


def _verified_by(config: VaultConfig) -> str:
    if config.certificate_sha256:
        return "upstream.certificate_sha256"
    return f"{config.ca_file}" if config.ca_file else "the roots of this machine"


async def clock(place: VaultPlace) -> Said:
    """Its clock and ours agree."""
    before = place.clock.now()
    try:
        theirs = datetime.fromtimestamp((await place.health()).whole.seconds("server_time_utc"), UTC)
    except Unavailable as error:
        return unknown(error.detail, "see what `vault-server` says")
    apart = max(
        theirs - place.clock.now(), before - theirs - timedelta(seconds=1), timedelta(0)
    )  # it has no parts
    told = f"{apart.total_seconds():.0f} s apart"
    mend = "let both synchronise their clocks by NTP: what one signs now begins in the future of the other"
    if apart >= TOO_FAR:
        return wrong(told, mend)
    found = ok(told)
    return Said(verdict=found.verdict, found=found.found, mend=(mend,) if apart >= APART else ())


async def login(place: VaultPlace) -> Said:
    """The configured method gives a token."""
    method = type(place.config.login.method).__name__.removeprefix("Vault").removesuffix("Login").lower()
    try:
        token = await place.visit.token()
    except Unavailable as error:
        return at_fault(error)
    lasts = format_duration(timedelta(seconds=token.seconds)) if token.seconds else "ever"
    return ok(f"by {method}; the token lasts for {lasts} and is {'' if token.renewable else 'not '}renewable")


async def capabilities(place: VaultPlace) -> Said:
    """Our token may do what we need, and nothing else that we know to ask about."""
    paths = _paths(place.config)
    try:
        data = (await place.visit.call("post", "sys/capabilities-self", {"paths": paths})).data
    except Unavailable as error:
        if fault_of(error) is Fault.FORBIDDEN:
            return wrong("lacks: update on sys/capabilities-self, so that the rest is not seen", POLICY)
        return at_fault(error)
    may = {path: frozenset(data.texts(path)) - _DENIED for path in paths}
    if any("root" in allowed for allowed in may.values()):
        return wrong("our token has the policy root: it may do everything", POLICY)
    lacking, broad = list(_lacking(place.config, may)), list(_exceeding(place.config, may))
    if not lacking and not broad:
        return ok(LEAST)
    return wrong(f"{len(lacking)} rights lack, {len(broad)} are too much", *lacking, *broad, POLICY)


def _paths(config: VaultConfig) -> list[str]:
    return [*(need.path for need in needs(config)), *(excess.path for excess in excesses(config))]


def _lacking(config: VaultConfig, may: Mapping[str, Collection[str]]) -> Iterator[str]:
    for need in needs(config):
        if need.capability not in may[need.path]:
            yield f"grant: {need.capability} on {need.path}, to {need.why}"


def _exceeding(config: VaultConfig, may: Mapping[str, Collection[str]]) -> Iterator[str]:
    for need in needs(config):
        if more := sorted(set(may[need.path]) - {need.capability}):
            yield f"take away: {', '.join(more)} on {need.path}, where {need.capability} is enough"
    for excess in excesses(config):
        if more := sorted(may[excess.path]):
            yield f"take away: {', '.join(more)} on {excess.path}: a stolen token could {excess.why}"


async def mount(place: VaultPlace) -> Said:
    """The engine signs for as long as we ask for."""
    config = place.config
    wanted = format_duration(config.intermediate_lifetime)
    try:
        data = (await place.visit.call("get", f"sys/mounts/{config.mount}/tune")).data
    except Unavailable as error:
        if fault_of(error) is not Fault.FORBIDDEN:
            return at_fault(error)
        compare = (
            f"an operator compares `bao read -field=max_lease_ttl sys/mounts/{config.mount}/tune` with {wanted}"
        )
        return unknown("max_lease_ttl is not readable by the least policy, and need not be", compare)
    longest = timedelta(seconds=data.seconds("max_lease_ttl"))
    told = f"max_lease_ttl is {format_duration(longest)}, upstream.intermediate_lifetime is {wanted}"
    if longest >= config.intermediate_lifetime:
        return ok(told)
    tune = f"bao secrets tune -max-lease-ttl={int(config.intermediate_lifetime.total_seconds())}s {config.mount}"
    return wrong(told, f"{tune}; or ask for less in upstream.intermediate_lifetime")

"""A CA that replicas share by a Secret: read, followed, and at a first start made by whoever is first.

A plugged-in signing certificate signs as it is. Below a root whose key is in the Secret, as Istio's self-signed
CA keeps it, each replica makes an intermediate of its own that lives in its memory only (ADR 14). Such a root can
be followed by another, in a second Secret `<last of the names>-next`: both sign until the old one is forgotten;
then what is in the second moves into the first. Whether new material may come into force is `rotation`'s decision.

Nothing is kept on disk, which a pod loses. What an operator takes out of the Secret goes on to sign in the memory
of the replicas that run; one that restarts in the middle of such a change has the lines of the Secrets, no others.
It cannot sign below the old root any more, says so, and must not sign below the new one before it may: so whoever
plugs in another root leaves the old CA in a Secret that does not count any more, or puts it back.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final

from cryptography import x509

from meshca.authority.faults import find_faults
from meshca.authority.material import SigningMaterial, certificate_id
from meshca.authority.secret_source import Overtaken, SecretSource, StoredSecret
from meshca.authority.upstream import Line, Offer
from meshca.clock import Clock
from meshca.config.upstream import SecretConfig
from meshca.errors import ConfigError, InvariantBroken, Unavailable
from meshca.identity.spiffe_id import TrustDomain
from meshca.log import log
from meshca.upstream.intermediates import Intermediates
from meshca.upstream.secret_beginning import Beginning, Published
from meshca.upstream.secret_copy import empty_copy
from meshca.upstream.secret_reading import (
    Reading,
    check_rotates,
    next_name,
    next_write,
    read_secrets,
    to_be_followed,
)
from meshca.upstream.sound_root import root_of

_TRIES: Final = 5  # of what is written; each is lost to another writer only
Versions = tuple[tuple[str, str], ...]


def secret_names(config: SecretConfig) -> tuple[str, ...]:
    """The Secrets that a source must be made for."""
    return (*config.names, next_name(config.names))


@asynccontextmanager
async def open_(
    config: SecretConfig,
    *,
    source: SecretSource,
    published: Published | None,
    trust_domain: TrustDomain,
    clock: Clock,
) -> AsyncIterator[SecretUpstream]:
    """Nothing is asked yet: an API server that does not answer must not stop a start.

    Args:
        config: what to look for, and whether to begin with a new root.
        source: the Secrets; made for `secret_names`.
        published: looked at before a root is made; None when nothing is published.
        trust_domain: that is signed for.
        clock: for half lives.
    """
    yield SecretUpstream(config, source, published, trust_domain, clock)


async def check(
    config: SecretConfig,
    *,
    source: SecretSource,
    published: Published | None,
    trust_domain: TrustDomain,
    clock: Clock,
) -> None:
    """Find what would stop a start, without making anything.

    Raises:
        ConfigError: the Secret cannot be used, with every fault of every key.
        Unavailable: it cannot be read now, or there is none and none would be made.
    """
    await SecretUpstream(config, source, published, trust_domain, clock).check()


class SecretUpstream:
    """Implements `authority.upstream.Upstream`; use `open_`.

    Attributes:
        problem: what is wrong with the Secrets, as of the last `lines`.
        reached_at: None: keys that sign are here.
        leaves: None: we sign them.
    """

    problem: ConfigError | None = None
    leaves: None = None
    reached_at: datetime | None = None

    def __init__(
        self,
        config: SecretConfig,
        source: SecretSource,
        published: Published | None,
        trust_domain: TrustDomain,
        clock: Clock,
    ) -> None:
        self._config = config
        self._source = source
        self._beginning = Beginning(config, source, published, trust_domain, clock)
        self._trust_domain = trust_domain
        self._clock = clock
        self._intermediates = Intermediates(config, trust_domain, clock)
        self._kept: dict[str, SigningMaterial] = {}
        self._named: Sequence[x509.Certificate] = ()
        self._told: Collection[str] = ()
        self._listed: Versions = ()
        self._latest: Versions = ()

    async def lines(self) -> Sequence[Line]:
        """The roots of the Secrets and those that sign from memory; at a first start a new one.

        Raises:
            ConfigError: nothing here signs; with every fault of every key, or that the Secret is gone.
            Unavailable: it cannot be read or made now, there is none yet, or a living root is published.
        """
        reading = await self._found()
        await empty_copy(self._source, reading)
        self._told = frozenset(reading.held)
        self.problem = self._problem(reading)
        for held in reading.held.values():
            if not held.is_root:
                self._kept[held.id] = held.material
        if self.problem is None:
            self._named = reading.named
        lines = self._lines(reading)
        if self.problem is not None and not any(line.signs for line in lines):
            raise self.problem
        return lines

    async def obtain(self, root: str) -> Offer:
        """What a Secret holds now below this root, an intermediate of ours, or what signed before.

        In memory only: below a root each replica, and each start, has an intermediate of its own.

        Raises:
            ConfigError: nothing signs below this root, or what does cannot be used any more.
            Unavailable: the Secrets cannot be read now.
        """
        reading = self._judged(await self._read())
        if held := reading.held.get(root):
            is_ours = held.is_root
            offer = (
                self._intermediates.below(held.material)
                if is_ours
                else Offer(material=held.material, renew_at=None)
            )
            self._kept[root] = offer.material
            return offer
        problem = self._problem(reading)
        problems = () if problem is None else problem.problems
        if root not in self._kept:
            todo = f"nothing signs below the root {root}; put its CA back, or sign below another"
            raise ConfigError(self._beginning.where, [todo, *problems])
        if faults := self._faults(self._kept[root]):
            raise ConfigError(self._beginning.where, [*faults, *problems])
        return Offer(material=self._kept[root], renew_at=None)

    async def make_root(self, *, same_key: str = "") -> Line:
        """A root that shall follow, in a Secret of its own; replicas that make one at once end with one.

        Raises:
            Refused: reason `upstream`: as `check_rotates` and `to_be_followed`.
            ConfigError: what holds, or would hold, the new root is not sound.
            Unavailable: it cannot be written now, or there is no root to be followed.
        """
        check_rotates(self._config, self._source.place)
        spare = next_name(self._config.names)
        for _ in range(_TRIES):
            there = await self._read()
            reading = self._judged(there)
            main = to_be_followed(reading, same_key, self._source.place)
            if main is None:
                why = self._problem(reading) or "none holds a CA"
                raise Unavailable("ca_secret", f"{self._beginning.where}: no root is there to be followed: {why}")
            if reading.following is not None and reading.following.id != main.id:
                return Line(root=reading.following.root, signs=True, made=True)
            if problems := reading.problems.get(spare):
                raise ConfigError(f"Secret {spare} in {self._source.place}", problems)
            key = main.material.key if same_key else None
            await self._beginning.make(spare, there, key=key, company=[*reading.named, *self._company()])
        raise self._overtaken()

    async def may_make_root(self) -> None:
        """As `make_root`, as far as it can be told before."""
        check_rotates(self._config, self._source.place)
        to_be_followed(self._judged(await self._read()), "", self._source.place)

    async def forget(self, keep: Collection[str]) -> None:
        """Drop what signs from memory, and write the Secrets so that roots of our making are there no more.

        A Secret that does not count any more is left: whoever plugged in what counts instead can remove it. A
        root that the last `lines` did not tell is left, too: another replica has made it since, and whoever says
        what is to be kept does not know it yet.

        Raises:
            InvariantBroken: reason `forget`: not one that signs is to be kept; nothing was deleted.
            ConfigError: what is to be written will never be accepted.
            Unavailable: it cannot be written now.
        """
        for _ in range(_TRIES):
            reading = self._judged(await self._read())
            if not any(line.signs and certificate_id(line.root) in keep for line in self._lines(reading)):
                raise InvariantBroken("forget", "no root that signs was named to be kept; nothing was deleted")
            stays = {*keep, *(reading.held.keys() - self._told)}
            write = next_write(reading, stays)
            if write is None:
                self._kept = {root: material for root, material in self._kept.items() if root in stays}
                self._intermediates.forget(stays)
                return
            try:
                await self._source.replace(write)
            except Overtaken:
                continue
            log.info("ca.secret_written", secret=write.name, emptied=not write.contents)
        raise self._overtaken()

    async def changed(self) -> None:
        """Return when one of the Secrets differs from what `lines` saw."""
        if self._latest == self._listed:
            await self._source.changed()

    async def check(self) -> None:
        """As the function `check`."""
        reading = self._judged(await self._read())
        if problem := self._problem(reading):
            raise problem
        if not reading.held and (refusal := await self._beginning.refusal()):
            raise refusal

    async def _read(self, *, for_lines: bool = False) -> Sequence[StoredSecret]:
        there = await self._source.read()
        self._latest = tuple((secret.name, secret.version) for secret in there)
        self._listed = self._latest if for_lines else self._listed
        return there

    def _judged(self, there: Sequence[StoredSecret]) -> Reading:
        return read_secrets(there, self._config.names, self._company(), self._trust_domain, self._clock.now())

    async def _found(self) -> Reading:
        """What there is; where there is nothing, and never was, a first root."""
        for _ in range(_TRIES):
            there = await self._read(for_lines=True)
            if self._named or any(secret.contents for secret in there):
                return self._judged(there)
            refusal = await self._beginning.refusal()
            if refusal is None:
                await self._beginning.make(self._config.names[-1], there)
            elif not any(secret.contents for secret in await self._read(for_lines=True)):  # else another began
                raise refusal
        raise self._overtaken()

    def _lines(self, reading: Reading) -> Sequence[Line]:
        before = self._named if self._problem(reading) else ()
        wanted = dict.fromkeys((*reading.named, *before))
        held = reading.held
        roots = [*wanted, *(one.root for one in held.values()), *map(root_of, self._kept.values())]
        signing = {*held, *(root for root, kept in self._kept.items() if not self._faults(kept))}
        made = {one.id for one in held.values() if one.made}
        lines = [
            Line(root=root, signs=id_ in signing, wanted=root in wanted, made=id_ in made, current=id_ in held)
            for root in dict.fromkeys(roots)
            for id_ in (certificate_id(root),)
        ]
        return sorted(lines, key=lambda line: line.root.not_valid_before_utc)

    def _problem(self, reading: Reading) -> ConfigError | None:
        if reading.problems:
            name, *_ = reading.problems
            return ConfigError(f"Secret {name} in {self._source.place}", reading.told)
        if reading.counts is None and (reading.held or self._named):
            todo = "put it back, what it held goes on signing until then"
            return ConfigError(self._beginning.where, [f"no Secret holds a CA any more; {todo}"])
        return None

    def _company(self) -> Sequence[x509.Certificate]:  # in use here
        return [*self._named, *map(root_of, self._kept.values())]

    def _faults(self, material: SigningMaterial) -> Sequence[str]:
        """What has come over material that was sound once: it expires."""
        certificates = (material.certificate, *material.others)
        return find_faults(certificates, material.roots, material.key, self._trust_domain, self._clock.now())

    def _overtaken(self) -> Unavailable:
        return Unavailable("ca_secret", f"{self._beginning.where}: others write the Secrets all the time")

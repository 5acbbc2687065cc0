"""A CA that replicas share by a Secret: read, followed, and at a first start made by whoever is first.

A plugged-in signing certificate signs as it is. Below a root whose key is in the Secret, as Istio's self-signed
CA keeps it, each replica makes an intermediate of its own that lives in its memory only (ADR 14). Whether new
material may come into force is `rotation`'s decision. A root is never made while one is in force here, nor while
a living one is published: the mesh lives by that.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from cryptography import x509

from meshca.authority.faults import find_faults
from meshca.authority.keys import new_key
from meshca.authority.material import SigningMaterial
from meshca.authority.secret_source import Overtaken, SecretSource, StoredSecret
from meshca.authority.upstream import Offer
from meshca.clock import Clock
from meshca.config.upstream import SecretConfig
from meshca.errors import ConfigError, Unavailable
from meshca.identity.spiffe_id import TrustDomain
from meshca.svid.good_roots import other_roots
from meshca.upstream import ca_secret
from meshca.upstream.ca_certificates import (
    BACKDATE,
    audit,
    half_life,
    intermediate_life,
    make_intermediate,
    make_root,
)
from meshca.upstream.ca_set import CaSet

_TRIES: Final = 5  # of a first start; each is lost to another writer only


class Published(Protocol):
    """Where the roots are published that workloads trust.

    Attributes:
        place: for people: `ConfigMap istio-ca-root-cert in namespace meshca-system`.
    """

    place: str

    async def read(self) -> str:
        """The text there; empty when there is none.

        Raises:
            Unavailable: it cannot be read now, or we may not; then it names the permission.
        """
        ...


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
        source: the Secrets.
        published: looked at before a root is made; None when nothing is published.
        trust_domain: that is signed for.
        clock: for validity.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Below:
    """An intermediate of ours, and the root that it was made below."""

    root: x509.Certificate
    material: SigningMaterial
    renew_at: datetime | None


class SecretUpstream:
    """Implements `authority.upstream.Upstream`; use `open_`."""

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
        self._published = published
        self._trust_domain = trust_domain
        self._clock = clock
        self._had = False
        self._below: _Below | None = None

    async def obtain(self) -> Offer:
        """What the Secret holds now, or an intermediate below it; at a first start a new root.

        Raises:
            ConfigError: the Secret cannot be used, with every fault of every key; or it is gone.
            Unavailable: it cannot be read or made now, there is none yet, or a living root is published.
        """
        ca, is_root = self._sound(await self._found())
        self._had = True
        if not is_root:
            return Offer(material=ca.material(), renew_at=None)
        below = self._below_root(ca.material())
        return Offer(material=below.material, renew_at=below.renew_at)

    async def changed(self) -> None:
        """Return when one of the Secrets differs from what `obtain` saw."""
        await self._source.changed()

    async def check(self) -> None:
        """As the function `check`."""
        chosen = ca_secret.choose(await self._source.read())
        if chosen is not None:
            self._sound(chosen)
        elif not self._config.create:
            raise self._none()
        elif lost := await self._lost():
            raise lost

    async def _found(self) -> StoredSecret:
        for _ in range(_TRIES):
            there = await self._source.read()
            chosen = ca_secret.choose(there)
            if chosen is not None:
                return chosen
            if self._had:
                raise ConfigError(
                    self._where(),
                    ["no Secret holds a CA any more; put it back, what it held goes on signing until then"],
                )
            if not self._config.create:
                raise self._none()
            lost = await self._lost()
            if lost is None:
                await self._begin(there)
            elif ca_secret.choose(await self._source.read()) is None:  # else another replica began meanwhile
                raise lost
        raise Unavailable("ca_secret", f"{self._where()}: others write the Secrets all the time")

    async def _lost(self) -> Unavailable | None:
        """Why no root may be made although no Secret holds one: the mesh lives by one, and its key is elsewhere.

        Raises:
            Unavailable: whether it does cannot be found out.
        """
        if self._published is None:
            return None
        place = self._published.place
        try:
            living = other_roots(await self._published.read(), "", self._clock.now())
        except Unavailable as error:
            problem = f"{self._where()}: none holds a CA, and whether {place} holds a root is not known"
            raise Unavailable("ca_secret", f"{problem}: {error.detail}") from None
        if not living:
            return None
        problem = f"{self._where()}: none holds a CA, but {place} holds a living root (sha256 {living[0]})"
        todo = f"put the Secret back from a backup, or delete {place} to begin with a new root for the whole mesh"
        return Unavailable("ca_secret", f"{problem}; {todo}")

    async def _begin(self, there: Sequence[StoredSecret]) -> None:
        """Make a root, unless another replica is first; an empty Secret that is there already is filled."""
        name = self._source.names[-1]
        empty = next((secret for secret in there if secret.name == name), None)
        key, now = new_key(self._config.key_type), self._clock.now()
        end = now + self._config.root_lifetime
        root = make_root(key, self._trust_domain, now - BACKDATE, end, for_istio=True)
        try:
            if empty is None:
                await self._source.create(ca_secret.of_root(name, root, key))
            else:
                await self._source.replace(ca_secret.of_root(name, root, key, into=empty))
        except Overtaken:
            return
        audit("root", root)

    def _sound(self, secret: StoredSecret) -> tuple[CaSet, bool]:
        """The parts, and whether the signing certificate is itself a root."""
        problems: list[str] = []
        ca = ca_secret.read(secret, problems)
        is_root = bool(ca.certificates) and ca.certificates[0] in ca.roots
        problems += find_faults(
            ca.certificates, ca.roots, ca.key, self._trust_domain, self._clock.now(), below=int(is_root)
        )
        if problems:
            raise ConfigError(f"Secret {secret.name} in {self._source.place}", problems)
        return ca, is_root

    def _below_root(self, root: SigningMaterial) -> _Below:
        """The intermediate that we have, or another when it is in the second half of its life."""
        have, now = self._below, self._clock.now()
        if have is not None and have.root == root.certificate and (have.renew_at is None or now < have.renew_at):
            return have
        key = new_key(self._config.key_type)
        life = intermediate_life(root.certificate, now, self._config.intermediate_lifetime)
        made = make_intermediate(key.public_key(), self._trust_domain, root.certificate, root.key, life)
        audit("intermediate", made)
        material = SigningMaterial(certificate=made, others=(), roots=root.roots, key=key)
        self._below = _Below(root=root.certificate, material=material, renew_at=half_life(made, root.certificate))
        return self._below

    def _where(self) -> str:
        names = self._source.names
        return f"Secret{'s' if len(names) > 1 else ''} {', '.join(names)} in {self._source.place}"

    def _none(self) -> Unavailable:
        todo = "put a CA there, or set upstream.create to begin with a new root"
        return Unavailable("ca_secret", f"{self._where()}: none holds a CA; {todo}")

"""Roots that are made in Secrets: the first of a mesh, and one that shall follow another.

Of replicas that write at once one wins, and the others read what it wrote. A root is never made while a living one
is published although no Secret holds it: the mesh lives by that.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from cryptography import x509

from meshca.authority.keys import new_key
from meshca.authority.secret_source import Overtaken, SecretSource, StoredSecret
from meshca.clock import Clock
from meshca.config.upstream import SecretConfig
from meshca.errors import ConfigError, Unavailable
from meshca.identity.spiffe_id import TrustDomain
from meshca.svid.good_roots import other_roots
from meshca.svid.signature import SigningKey
from meshca.upstream import ca_secret
from meshca.upstream.ca_certificates import BACKDATE, audit, make_root
from meshca.upstream.ca_set import CaSet
from meshca.upstream.sound_root import sound


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


class Beginning:
    """Makes roots.

    Args:
        config: whether a first start may, and how long a root lasts.
        source: the Secrets.
        published: looked at before a first root is made; None when nothing is published.
        trust_domain: that is signed for.
        clock: for lifetimes.

    Attributes:
        where: the Secrets among which one counts, for people.
    """

    def __init__(
        self,
        config: SecretConfig,
        source: SecretSource,
        published: Published | None,
        trust_domain: TrustDomain,
        clock: Clock,
    ) -> None:
        names = config.names
        self.where = f"Secret{'s' if len(names) > 1 else ''} {', '.join(names)} in {source.place}"
        self._config = config
        self._source = source
        self._published = published
        self._trust_domain = trust_domain
        self._clock = clock

    async def refusal(self) -> Unavailable | None:
        """Why no first root may be made although no Secret holds one; None when one may.

        Raises:
            Unavailable: whether it may cannot be found out.
        """
        if not self._config.create:
            todo = "put a CA there, or set upstream.create to begin with a new root"
            return Unavailable("ca_secret", f"{self.where}: none holds a CA; {todo}")
        if self._published is None:
            return None
        place = self._published.place
        try:
            living = other_roots(await self._published.read(), "", self._clock.now())
        except Unavailable as error:
            problem = f"{self.where}: none holds a CA, and whether {place} holds a root is not known"
            raise Unavailable("ca_secret", f"{problem}: {error.detail}") from None
        if not living:
            return None
        problem = f"{self.where}: none holds a CA, but {place} holds a living root (sha256 {living[0]})"
        todo = f"put the Secret back from a backup, or delete {place} to begin with a new root for the whole mesh"
        return Unavailable("ca_secret", f"{problem}; {todo}")

    async def make(
        self,
        name: str,
        there: Sequence[StoredSecret],
        *,
        key: SigningKey | None = None,
        company: Collection[x509.Certificate] = (),
    ) -> None:
        """Make a root in a Secret, unless another replica is first; an empty one that is there is filled.

        Args:
            name: of the Secret.
            there: what was read.
            key: of another root, to be used again; a new one when None.
            company: roots that are in use already.

        Raises:
            ConfigError: the root is not sound, or will never be accepted.
            Unavailable: it cannot be written now.
        """
        empty = next((secret for secret in there if secret.name == name), None)
        key, now = key or new_key(self._config.key_type), self._clock.now()
        end = now + self._config.root_lifetime
        root = make_root(key, self._trust_domain, now - BACKDATE, end, for_istio=True)
        self._prove(root, key, company)
        try:
            if empty is None:
                await self._source.create(ca_secret.of_root(name, root, key))
            else:
                await self._source.replace(ca_secret.of_root(name, root, key, into=empty))
        except Overtaken:
            return
        audit("root", root)

    def _prove(self, root: x509.Certificate, key: SigningKey, company: Collection[x509.Certificate]) -> None:
        problems: list[str] = []
        sound(
            CaSet(certificates=(root,), roots=(root,), key=key),
            problems,
            company=company,
            trust_domain=self._trust_domain,
            now=self._clock.now(),
            root_keeps_apart=True,
        )
        if problems:
            raise ConfigError("new root", problems)

"""A CA of our own: a root made at first start, further ones later, and an intermediate re-made under each.

An intermediate is re-made at half life. One that begins later is re-made too: a clock that was ahead once must
not stop issuance for good.

State is `ca/` in the data directory (`upstream.ca_folder`) and a key store. A restart keeps both; a damaged or
incomplete state stops the start and is never replaced by a new root, which nobody would trust. What is made is
proven first, then kept on disk, then offered. Keys are made before their certificates appear and removed after
these have gone, and a start removes those that no certificate leads to.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509

from meshca.authority.keys import KeyStore
from meshca.authority.upstream import Line, Offer
from meshca.clock import Clock
from meshca.config.upstream import SelfSignedConfig
from meshca.errors import ConfigError, InvariantBroken, Refused
from meshca.identity.spiffe_id import TrustDomain
from meshca.log import log
from meshca.svid.signature import SigningKey
from meshca.upstream.ca_certificates import (
    BACKDATE,
    audit,
    half_life,
    intermediate_life,
    make_intermediate,
    make_root,
)
from meshca.upstream.ca_folder import CaFolder, Pair
from meshca.upstream.ca_pairs import CaPairs
from meshca.validity import begun

SECOND: Final = timedelta(seconds=1)


@asynccontextmanager
async def open_(
    config: SelfSignedConfig, *, data_dir: Path, keys: KeyStore, trust_domain: TrustDomain, clock: Clock
) -> AsyncIterator[SelfSigned]:
    """Load the CA of this data directory, or make it at the first start.

    Raises:
        ConfigError: the state is damaged or incomplete, or its root has expired; every problem at once.
        Unavailable: reason `ca_folder` or `key_store`, when nothing can be written.
    """
    upstream = SelfSigned(config, CaFolder(data_dir), keys, trust_domain, clock)
    upstream.start()
    yield upstream


def check(
    config: SelfSignedConfig, *, data_dir: Path, keys: KeyStore, trust_domain: TrustDomain, clock: Clock
) -> None:
    """Find what would stop `open_`, without making, renewing or removing anything.

    Raises:
        ConfigError: as `open_`.
        Unavailable: reason `ca_folder`.
    """
    SelfSigned(config, CaFolder(data_dir), keys, trust_domain, clock).check()


class SelfSigned:
    """Implements `authority.upstream.Upstream`; use `open_`.

    Attributes:
        problem: None: an operator gives nothing here.
        reached_at: None: we sign by ourselves.
        leaves: None: we sign them.
    """

    problem: ConfigError | None = None
    leaves: None = None
    reached_at: datetime | None = None

    def __init__(
        self, config: SelfSignedConfig, folder: CaFolder, keys: KeyStore, trust_domain: TrustDomain, clock: Clock
    ) -> None:
        self._config = config
        self._folder = folder
        self._keys = keys
        self._trust_domain = trust_domain
        self._clock = clock
        self._pairs = CaPairs(folder, keys, trust_domain, clock)

    def start(self) -> None:
        """Load what is there, or make it.

        Raises:
            ConfigError: it is damaged, incomplete or over.
            Unavailable: reason `ca_folder` or `key_store`.
        """
        with self._folder.locked():
            self._pairs.check_keys_have_certificates()
            if not self._folder.exists():
                self._make_pair("")
            self._pairs.tidy()

    def check(self) -> None:
        """As `start`, but nothing is made or removed.

        Raises:
            ConfigError: the state is damaged, incomplete or over.
            Unavailable: reason `ca_folder`.
        """
        with self._folder.locked():
            self._pairs.check_keys_have_certificates()
            if self._folder.exists():
                self._pairs.load()

    async def lines(self) -> Sequence[Line]:
        """Every root on disk; one that has expired signs nothing.

        Raises:
            ConfigError: the state is damaged, or every root has expired.
            Unavailable: reason `ca_folder`.
        """
        with self._folder.locked():
            self._pairs.load()
        return [Line(root=pair.root, signs=self._pairs.signs(pair)) for pair in self._pairs.held.values()]

    async def obtain(self, root: str) -> Offer:
        """The intermediate on disk while it is in the first half of its life, a new one after, or before.

        Raises:
            ConfigError: there is no such root, it has expired, its key is damaged, or what it signed is not sound.
            Unavailable: reason `ca_folder` or `key_store`.
        """
        pair, now = self._pairs.find(root), self._clock.now()
        renew_at = half_life(pair.intermediate, pair.root)
        if not begun(pair.intermediate.not_valid_before_utc, now) or (renew_at is not None and now >= renew_at):
            pair = self._renew(pair)
        material = self._pairs.material(pair.root, pair.intermediate)
        return Offer(material=material, renew_at=half_life(pair.intermediate, pair.root))

    async def make_root(self, *, same_key: str = "") -> Line:
        """A further root with an intermediate, proven and on disk; they appear at once.

        Raises:
            Refused: reason `upstream`: there is no root `same_key`.
            ConfigError: its key cannot be read, or what was made is not sound; nothing is left of it.
            Unavailable: reason `ca_folder` or `key_store`; nothing is left of it.
        """
        with self._folder.locked(), self._pairs.nothing_left_over():
            self._pairs.load()
            root = self._make_pair(same_key)
            self._pairs.tidy()
        return Line(root=root, signs=True)

    async def may_make_root(self) -> None:
        """Always."""

    async def forget(self, keep: Collection[str]) -> None:
        """Delete every other root: certificates first, then keys, so that no root is ever without its key.

        Raises:
            InvariantBroken: reason `forget`: not one that signs is to be kept; nothing was deleted.
            ConfigError: the state is damaged; nothing was deleted.
            Unavailable: reason `ca_folder` or `key_store`.
        """
        with self._folder.locked():
            self._pairs.load()
            held = self._pairs.held
            if not any(id_ in keep and self._pairs.signs(pair) for id_, pair in held.items()):
                raise InvariantBroken("forget", "no root that signs was named to be kept; nothing was deleted")
            for id_, pair in held.items():
                if id_ not in keep:
                    self._folder.discard(pair)
                    log.info("ca.forgotten", kind="root", sha256=id_)
            self._pairs.tidy()

    async def changed(self) -> None:
        """Never: nobody else changes the data directory."""
        await asyncio.Event().wait()

    def _make_pair(self, same_key: str) -> x509.Certificate:
        """A root of a new key, or of that of another root, with an intermediate; on disk when this returns.

        Raises:
            Refused: reason `upstream`: there is no root `same_key`.
            ConfigError: they are not sound; they are not on disk.
        """
        again = self._root_key(same_key) if same_key else None
        staged, now = self._folder.stage(), self._clock.now()  # before the first key, so that this has its mark
        key = again or self._keys.create(self._config.key_type)
        root = make_root(key, self._trust_domain, self._begin(now), now + self._config.root_lifetime)
        intermediate = self._new_intermediate(root, key)
        self._pairs.prove(root, intermediate)
        self._folder.publish(staged, root, intermediate)
        audit("root", root)
        audit("intermediate", intermediate)
        return root

    def _begin(self, now: datetime) -> datetime:
        """Later than every root here, in whole seconds as certificates have it, but not in the future.

        When the store is lost, only this tells which root signed first, and that one goes on to sign.
        """
        after = [pair.root.not_valid_before_utc + SECOND for pair in self._pairs.held.values()]
        return min(now, max([now - BACKDATE, *after]))

    def _renew(self, old: Pair) -> Pair:
        """Make a new intermediate, unless another process over the same folder has done so."""
        with self._folder.locked(), self._pairs.nothing_left_over():
            self._pairs.load()
            pair = self._pairs.find(old.id)
            if pair.intermediate != old.intermediate:
                return pair
            made = self._new_intermediate(pair.root, self._pairs.key_of(pair.root))
            self._pairs.prove(pair.root, made)
            self._folder.replace_intermediate(pair, made)
            audit("intermediate", made)
            self._pairs.tidy()
            return self._pairs.find(old.id)

    def _new_intermediate(self, root: x509.Certificate, root_key: SigningKey) -> x509.Certificate:
        key = self._keys.create(self._config.key_type)
        life = intermediate_life(root, self._clock.now(), self._config.intermediate_lifetime)
        return make_intermediate(key.public_key(), self._trust_domain, root, root_key, life)

    def _root_key(self, root: str) -> SigningKey:
        """The key of a root that is used once more."""
        held = self._pairs.held
        if root not in held:
            problem = f"there is no root {root} whose key could be used again; name one of {', '.join(held)}"
            raise Refused("upstream", problem)
        return self._pairs.key_of(held[root].root)

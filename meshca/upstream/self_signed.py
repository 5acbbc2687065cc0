"""A CA of our own: a root made at first start, and a signing intermediate re-made under it at half life.

An intermediate that begins later is re-made too: a clock that was ahead once must not stop issuance for good.

State is `ca/` in the data directory (`upstream.ca_folder`) and a key store. A restart keeps both; a damaged or
incomplete state stops the start and is never replaced by a new root, which nobody would trust. When the
intermediate is re-made it is proven first, then kept on disk, then offered.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path

from cryptography import x509

from meshca.authority.faults import find_faults
from meshca.authority.keys import KeyStore, key_id
from meshca.authority.material import SigningMaterial
from meshca.authority.slot import Slot
from meshca.authority.upstream import Offer
from meshca.clock import Clock
from meshca.config.upstream import SelfSignedConfig
from meshca.errors import ConfigError
from meshca.identity.spiffe_id import TrustDomain
from meshca.svid.signature import SigningKey
from meshca.upstream.ca_certificates import (
    BACKDATE,
    audit,
    half_life,
    intermediate_life,
    make_intermediate,
    make_root,
)
from meshca.upstream.ca_folder import CaFolder
from meshca.validity import begun, spent


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
    """Implements `authority.upstream.Upstream`; use `open_`."""

    _root: x509.Certificate
    _intermediate: x509.Certificate

    def __init__(
        self, config: SelfSignedConfig, folder: CaFolder, keys: KeyStore, trust_domain: TrustDomain, clock: Clock
    ) -> None:
        self._config = config
        self._folder = folder
        self._keys = keys
        self._trust_domain = trust_domain
        self._clock = clock

    def start(self) -> None:
        """Load what is there, or make it.

        Raises:
            ConfigError: it is damaged, incomplete or over.
            Unavailable: reason `ca_folder` or `key_store`.
        """
        with self._folder.locked():
            self._check_keys_have_certificates()
            if not self._folder.exists():
                self._begin()
            self._load()
            self._forget_old_keys()

    def check(self) -> None:
        """As `start`, but nothing is made or removed.

        Raises:
            ConfigError: the state is damaged, incomplete or over.
            Unavailable: reason `ca_folder`.
        """
        with self._folder.locked():
            self._check_keys_have_certificates()
            if self._folder.exists():
                self._load()

    async def obtain(self) -> Offer:
        """The intermediate on disk while it is in the first half of its life, a new one after, or before.

        Raises:
            ConfigError: the key of the root is damaged, or what it signed is not sound.
            Unavailable: reason `ca_folder` or `key_store`.
        """
        renew_at, now = half_life(self._intermediate, self._root), self._clock.now()
        if not begun(self._intermediate.not_valid_before_utc, now) or (renew_at is not None and now >= renew_at):
            self._renew()
        return Offer(
            material=self._material(self._intermediate), renew_at=half_life(self._intermediate, self._root)
        )

    async def changed(self) -> None:
        """Never: nobody else changes the data directory."""
        await asyncio.Event().wait()

    def _check_keys_have_certificates(self) -> None:
        if self._keys.key_ids() and not self._folder.exists() and not self._folder.interrupted():
            problem = (
                f"there are CA keys, but their certificates in {self._folder.path} are gone; restore them from a"
                " backup, or, if nobody trusts the old root any more, remove the keys to begin with a new one"
            )
            raise ConfigError("self-signed CA", [problem])

    def _begin(self) -> None:
        staged = self._folder.stage()
        key = self._keys.create(self._config.key_type)
        now = self._clock.now()
        root = make_root(key, self._trust_domain, now - BACKDATE, now + self._config.root_lifetime)
        intermediate = self._new_intermediate(root, key)
        self._folder.publish(staged, root, intermediate)
        audit("root", root)
        audit("intermediate", intermediate)

    def _renew(self) -> None:
        """Make a new intermediate, unless another process over the same folder has done so."""
        with self._folder.locked():
            in_use = self._intermediate
            self._load()
            if self._intermediate != in_use:
                return
            made = self._new_intermediate(self._root, self._key_of(self._root))
            Slot.prove(self._material(made), self._trust_domain, self._clock.now())
            self._folder.replace_intermediate(made)
            audit("intermediate", made)
            self._intermediate = made
            self._forget_old_keys()

    def _new_intermediate(self, root: x509.Certificate, root_key: SigningKey) -> x509.Certificate:
        key = self._keys.create(self._config.key_type)
        life = intermediate_life(root, self._clock.now(), self._config.intermediate_lifetime)
        return make_intermediate(key.public_key(), self._trust_domain, root, root_key, life)

    def _load(self) -> None:
        """Read the state on disk; what a new intermediate would mend is no fault."""
        root, intermediate = self._folder.load()
        now, problems = self._clock.now(), []
        for certificate in (root, intermediate):
            try:
                self._key_of(certificate)
            except ConfigError as error:
                problems += [f"{error.source}: {problem}" for problem in error.problems]
        if spent(root.not_valid_after_utc, now):
            problems.append("the root has expired; move the data directory away to begin with a new one")
        elif not begun(root.not_valid_before_utc, now) or not _replaceable(intermediate, now):
            problems += find_faults([intermediate], [root], None, self._trust_domain, now)
        if problems:
            raise ConfigError(f"self-signed CA in {self._folder.path}", problems)
        self._root, self._intermediate = root, intermediate

    def _material(self, intermediate: x509.Certificate) -> SigningMaterial:
        return SigningMaterial(
            certificate=intermediate, others=(), roots=(self._root,), key=self._key_of(intermediate)
        )

    def _key_of(self, certificate: x509.Certificate) -> SigningKey:
        return self._keys.load(key_id(certificate.public_key()))

    def _forget_old_keys(self) -> None:
        in_use = {key_id(certificate.public_key()) for certificate in (self._root, self._intermediate)}
        self._keys.keep_only(frozenset(in_use))


def _replaceable(intermediate: x509.Certificate, now: datetime) -> bool:
    """Whether a new one is made in any case: it is over, or was made by a clock that was ahead."""
    return spent(intermediate.not_valid_after_utc, now) or not begun(intermediate.not_valid_before_utc, now)

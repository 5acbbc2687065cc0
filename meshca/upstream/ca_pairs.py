"""The pairs of a self-signed CA together with their keys: loaded, judged, and kept free of what is left over.

A key without a certificate has been left by somebody who was killed, and goes; a certificate without its key is
damage, and is refused. Nothing is made here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import datetime

from cryptography import x509

from meshca.authority.faults import find_faults
from meshca.authority.keys import KeyStore, key_id
from meshca.authority.material import SigningMaterial
from meshca.clock import Clock
from meshca.errors import ConfigError, MeshcaError
from meshca.identity.spiffe_id import TrustDomain
from meshca.svid.signature import SigningKey
from meshca.upstream.ca_folder import CaFolder, Pair
from meshca.upstream.sound_root import root_faults, trial_faults
from meshca.validity import begun, spent


class CaPairs:
    """What was loaded last, by the root's id, the root that began first first.

    Args:
        folder: with the certificates.
        keys: of roots and intermediates.
        trust_domain: that is signed for.
        clock: for what has expired.

    Attributes:
        where: for people.
        held: the pairs.
    """

    def __init__(self, folder: CaFolder, keys: KeyStore, trust_domain: TrustDomain, clock: Clock) -> None:
        self.where = f"self-signed CA in {folder.path}"
        self.held: dict[str, Pair] = {}
        self._folder = folder
        self._keys = keys
        self._trust_domain = trust_domain
        self._clock = clock

    def check_keys_have_certificates(self) -> None:
        """Refuse keys whose certificates are all gone: a first start over them would make another root.

        Raises:
            ConfigError: there are such keys.
        """
        if self._keys.key_ids() and not self._folder.exists() and not self._folder.interrupted():
            problem = (
                f"there are CA keys, but their certificates in {self._folder.path} are gone; restore them from a"
                " backup, or, if nobody trusts the old root any more, remove the keys to begin with a new one"
            )
            raise ConfigError("self-signed CA", [problem])

    def load(self) -> None:
        """Read the state on disk; what a new intermediate would mend is no fault.

        Raises:
            ConfigError: it is damaged or incomplete, or every root has expired; every problem at once.
        """
        pairs, now = self._folder.load(), self._clock.now()
        problems = [problem for pair in pairs for problem in self._faults_of(pair, now)]
        if all(spent(pair.root.not_valid_after_utc, now) for pair in pairs):
            problems.append("the root has expired; move the data directory away to begin with a new one")
        if problems:
            raise ConfigError(self.where, problems)
        self.held = {pair.id: pair for pair in pairs}

    def signs(self, pair: Pair) -> bool:
        """Whether its root has not expired."""
        return not spent(pair.root.not_valid_after_utc, self._clock.now())

    def find(self, root: str) -> Pair:
        """The pair of a root that signs, read again if it is not known.

        Raises:
            ConfigError: there is none, or it has expired; or as `load`.
        """
        if root not in self.held:
            self.load()  # another process may have made it
        pair = self.held.get(root)
        if pair is None:
            raise ConfigError(self.where, [f"there is no root {root}; name one of {', '.join(self.held)}"])
        if not self.signs(pair):
            raise ConfigError(self.where, [f"the root {root} has expired; sign below another"])
        return pair

    def key_of(self, certificate: x509.Certificate) -> SigningKey:
        """The key of a certificate.

        Raises:
            ConfigError: it is missing, damaged or readable by others.
        """
        return self._keys.load(key_id(certificate.public_key()))

    def material(self, root: x509.Certificate, intermediate: x509.Certificate) -> SigningMaterial:
        """What signs by an intermediate.

        Raises:
            ConfigError: as `key_of`.
        """
        return SigningMaterial(certificate=intermediate, others=(), roots=(root,), key=self.key_of(intermediate))

    def prove(self, root: x509.Certificate, intermediate: x509.Certificate) -> None:
        """Refuse what is not sound, before it is on disk.

        Raises:
            ConfigError: with every fault.
        """
        now, key = self._clock.now(), self.key_of(root)
        problems = find_faults([root], [root], key, self._trust_domain, now, below=1)
        problems += root_faults([root], [pair.root for pair in self.held.values()])
        problems += trial_faults(self.material(root, intermediate), self._trust_domain, now)
        if problems:
            raise ConfigError(self.where, list(dict.fromkeys(problems)))

    @contextlib.contextmanager
    def nothing_left_over(self) -> Iterator[None]:
        """Remove what was made on the way to something that failed."""
        try:
            yield
        except BaseException:
            with contextlib.suppress(MeshcaError):
                self.tidy()
            raise

    def tidy(self) -> None:
        """Read again, remove keys that no certificate leads to, and then what else counts as gone.

        Raises:
            ConfigError: as `load`.
            Unavailable: reason `ca_folder` or `key_store`.
        """
        self.load()
        certificates = [one for pair in self.held.values() for one in (pair.root, pair.intermediate)]
        self._keys.keep_only(frozenset(key_id(certificate.public_key()) for certificate in certificates))
        self._folder.sweep()

    def _faults_of(self, pair: Pair, now: datetime) -> Iterator[str]:
        for certificate in (pair.root, pair.intermediate):
            try:
                self.key_of(certificate)
            except ConfigError as error:
                yield from (f"{error.source}: {problem}" for problem in error.problems)
        if spent(pair.root.not_valid_after_utc, now):
            return
        if not begun(pair.root.not_valid_before_utc, now) or not _replaceable(pair.intermediate, now):
            yield from find_faults([pair.intermediate], [pair.root], None, self._trust_domain, now)


def _replaceable(intermediate: x509.Certificate, now: datetime) -> bool:
    """Whether a new one is made in any case: it is over, or was made by a clock that was ahead."""
    return spent(intermediate.not_valid_after_utc, now) or not begun(intermediate.not_valid_before_utc, now)

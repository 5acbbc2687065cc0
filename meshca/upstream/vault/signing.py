"""Has an intermediate signed: a fresh key, our request, and what came back judged before it is given on.

The key of a request that failed goes with it: from memory, or from the token that it was made in. So none is made
before the request may be sent, and what failed is not sent again for a while: the server may have signed it.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Mapping
from datetime import timedelta
from typing import Final, Protocol

from cryptography import x509

from meshca.authority.keys import new_key
from meshca.authority.material import SigningMaterial, certificate_id
from meshca.backoff import JITTER
from meshca.clock import Clock
from meshca.config.vault import SHORTEST, VaultConfig
from meshca.errors import MeshcaError, Unavailable
from meshca.identity.key_type import KeyType
from meshca.identity.spiffe_id import TrustDomain
from meshca.log import log
from meshca.svid.signature import SigningKey
from meshca.upstream.ca_certificates import audit
from meshca.upstream.sound_root import root_of
from meshca.upstream.vault.answer import Answer
from meshca.upstream.vault.client import Method
from meshca.upstream.vault.faults import Fault, counted, failure
from meshca.upstream.vault.mount import Issuer, certificates, chain_of
from meshca.upstream.vault.patience import Patience
from meshca.upstream.vault.session import Body
from meshca.upstream.vault.signed import Wish, judge

AHEAD: Final = timedelta(minutes=1)  # before the issuer's end, so that no clock makes ours outlive it
# It may have signed all the same, and such a certificate stays in its store until it ends.
PERHAPS_SIGNED: Final = frozenset({Fault.TIMEOUT, Fault.SERVER_ERROR, Fault.UNREACHABLE, Fault.ANSWER})


class Asking(Protocol):
    """Calls as us: `upstream.vault.session`, or the one login of a check."""

    async def call(self, method: Method, path: str, body: Body = None) -> Answer:
        """One call; a body that is to be made is made once nothing that is known keeps it from being sent.

        Raises:
            Unavailable: reason `vault_<fault>`.
        """
        ...

    def left(self, path: str) -> float:
        """Seconds for which a call of this path is refused without asking anybody."""
        ...


class Keys(Protocol):
    """Makes keys of intermediates."""

    def create(self, key_type: KeyType) -> SigningKey:
        """A new key.

        Raises:
            ConfigError, Unavailable: it cannot be made.
        """
        ...

    def discard(self, key: SigningKey) -> None:
        """Leave nothing of one that no certificate came of.

        Raises:
            Unavailable: it cannot be reached now.
        """
        ...


class InMemory:
    """Keys that are nowhere else."""

    def create(self, key_type: KeyType) -> SigningKey:
        """A new key."""
        return new_key(key_type)

    def discard(self, key: SigningKey) -> None:
        """Whoever lets go of it has done so."""


def discard(keys: Keys, key: SigningKey) -> None:
    """Destroy a key; one that cannot be reached now is logged, and destroyed by the next start."""
    try:
        keys.discard(key)
    except MeshcaError as error:
        log.warning("vault.key_left", reason=error.reason, detail=error.detail)


class Signing:
    """Asks for intermediates.

    Args:
        config: for how long, of which key type, and at which mount.
        session: calls as us.
        trust_domain: that they sign for.
        clock: for their ends.
        keys: where their keys are made; in memory when None.
        rng: the source of jitter.
    """

    def __init__(  # noqa: PLR0913 - its parts
        self,
        config: VaultConfig,
        session: Asking,
        trust_domain: TrustDomain,
        clock: Clock,
        keys: Keys | None = None,
        *,
        rng: random.Random = JITTER,
    ) -> None:
        self._config = config
        self._session = session
        self._trust_domain = trust_domain
        self._clock = clock
        self._keys = keys or InMemory()
        # What a policy may allow is one name of the issuer only: that which is configured.
        self._path = f"{config.mount}/issuer/{config.issuer}/sign-intermediate"
        self._patience = Patience(clock, rng, rarely=PERHAPS_SIGNED)
        self._asked: tuple[Issuer, tuple[x509.Certificate, ...]] | None = None

    @property
    def left(self) -> float:
        """Seconds until what failed may be asked for again."""
        return max(self._patience.left, self._session.left(self._path))

    async def below(
        self, issuer: Issuer, roots: tuple[x509.Certificate, ...], *, kind: str = "intermediate"
    ) -> SigningMaterial:
        """A new intermediate, proven, with its key; it is kept nowhere yet.

        Args:
            issuer: that signs; the one that is configured.
            roots: that count.
            kind: what the log calls it.

        Raises:
            Unavailable: reason `vault_<fault>`: it was not signed, or what came back is not what was asked for; or
                it is the same that failed just now.
        """
        if self._asked != (issuer, roots):
            self._patience.anew()
        self._asked = issuer, roots
        self._patience.check()
        with counted():
            material = await self._sent(issuer, roots)
        self._patience.succeeded()
        audit(kind, material.certificate)
        return material

    async def _sent(self, issuer: Issuer, roots: tuple[x509.Certificate, ...]) -> SigningMaterial:
        made: list[Wish] = []  # none while the session refuses by itself, which has patience of its own
        try:
            return await self._signed(made, issuer, roots)
        except BaseException as error:  # cancelled too: no key is left behind
            for wish in made:
                discard(self._keys, wish.key)
                if isinstance(error, Unavailable):
                    self._patience.failed(error)
            raise

    async def _signed(
        self, made: list[Wish], issuer: Issuer, roots: tuple[x509.Certificate, ...]
    ) -> SigningMaterial:
        def body() -> Mapping[str, object]:
            made.append(self.wish(issuer, roots))
            return made[0].body()

        answer = await self._session.call("post", self._path, body)
        [wish] = made
        for warning in answer.warnings:
            log.info("vault.warning", path=self._path, warning=warning)
        given = certificates((answer.data.text("certificate"),))
        above = (*given[1:], *chain_of(answer.data), issuer.certificate, *issuer.others)
        material, problems = await asyncio.to_thread(judge, wish, given[0], above, roots, self._clock.now())
        if material is None:
            raise failure(Fault.ANSWER, "; ".join(problems))
        if (root := root_of(material)) not in issuer.path(roots)[-1:]:
            signed = f"it is below the root {certificate_id(root)}"
            raise failure(Fault.ANSWER, f"{signed}: the mount's default issuer has just changed")
        return material

    def discard(self, material: SigningMaterial) -> None:
        """Destroy the key of what signs no more and was kept nowhere."""
        discard(self._keys, material.key)

    def wish(self, issuer: Issuer, roots: tuple[x509.Certificate, ...]) -> Wish:
        """What to ask for: no longer than everything above lasts.

        Raises:
            Unavailable: reason `vault_issuer_ends`, when that is almost over.
        """
        ends = min(one.not_valid_after_utc for one in issuer.path(roots) or (issuer.certificate,))
        lifetime = min(self._config.intermediate_lifetime, ends - AHEAD - self._clock.now())
        if lifetime <= SHORTEST:
            raise failure(Fault.ISSUER_ENDS, f"at {ends.isoformat()}")
        return Wish(
            key=self._keys.create(self._config.key_type),
            common_name=f"intermediate {secrets.token_hex(8)}",
            trust_domain=self._trust_domain,
            lifetime=lifetime,
        )

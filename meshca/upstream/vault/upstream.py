"""An intermediate of ours below an issuer of Vault's, made anew at half life and kept until its root is forgotten.

Vault is asked for what changes only. While it cannot be had, what is kept goes on: the roots that were seen last,
and the intermediates until they end. Nothing is signed below a root that does not count (`upstream.vault.trust`),
and a root that appears in the mount is a line before anything below it signs. Whether a line may come into force
is `rotation`'s decision.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from cryptography import x509

from meshca.authority.chain import find_path
from meshca.authority.faults import find_faults
from meshca.authority.material import SigningMaterial, certificate_id
from meshca.authority.upstream import Line, Offer
from meshca.clock import Clock
from meshca.config.vault import VaultConfig
from meshca.errors import InvariantBroken, MeshcaError, Refused
from meshca.identity.spiffe_id import TrustDomain
from meshca.log import log
from meshca.upstream.ca_certificates import half_life
from meshca.upstream.sound_root import root_of
from meshca.upstream.vault.client import Client
from meshca.upstream.vault.faults import Fault, failure
from meshca.upstream.vault.mount import look
from meshca.upstream.vault.sight import Sight, judged
from meshca.upstream.vault.signing import AHEAD, Signing


class Custody(Protocol):
    """Keeps signing material: `upstream.kept_folder` or `upstream.kept_memory`."""

    def load(self, problems: list[str]) -> Mapping[str, SigningMaterial]:
        """What is kept, by the root's id."""
        ...

    def named(self, problems: list[str]) -> Sequence[x509.Certificate]:
        """The roots that were named last."""
        ...

    def keep(self, material: SigningMaterial) -> None:
        """Keep sound material and the roots it names."""
        ...

    def name(self, roots: Sequence[x509.Certificate]) -> None:
        """Keep the roots that are named now."""
        ...

    def forget(self, keep: Collection[str]) -> tuple[str, ...]:
        """Drop what is kept below every other root."""
        ...


class VaultUpstream:
    """Implements `authority.upstream.Upstream`.

    Args:
        config: which issuer, which roots, and how often to look.
        client: asks without a token.
        signing: has intermediates signed.
        custody: keeps them.
        trust_domain: that is signed for.
        clock: for half lives.

    Attributes:
        problem: what went wrong since the last `lines` began, while what is kept goes on.
        reached_at: when the mount was last seen.
    """

    problem: MeshcaError | None = None
    reached_at: datetime | None = None

    def __init__(  # noqa: PLR0913 - its parts, by name
        self,
        config: VaultConfig,
        *,
        client: Client,
        signing: Signing,
        custody: Custody,
        trust_domain: TrustDomain,
        clock: Clock,
    ) -> None:
        self._config = config
        self._client = client
        self._signing = signing
        self._custody = custody
        self._trust_domain = trust_domain
        self._clock = clock
        self._seen = ""
        self._sight: Sight | None = None

    async def lines(self) -> Sequence[Line]:
        """The roots that count, and those that are kept; below the issuer's own root an intermediate is signed.

        Raises:
            ConfigError: what is kept cannot be used, or the file of roots, and nothing that signs is kept.
            Unavailable: Vault cannot be had or refuses, and nothing that signs is kept.
        """
        self.problem = None
        looked, current = await self._look(), self._current()
        if looked and current and current not in self._good():
            try:
                await self._sign(current)
            except MeshcaError as error:
                self.problem = error
        lines = self._lines(self._good())
        if self.problem is not None and not any(line.signs for line in lines):
            raise self.problem
        return lines

    async def obtain(self, root: str) -> Offer:
        """What is kept while it is in the first half of its life and below the issuer of today; otherwise new.

        Raises:
            Unavailable: nothing good is kept below this root, and none can be had now.
        """
        kept = self._good().get(root)
        if kept is not None and not self._is_due(kept):
            return _offer(kept)
        try:
            return _offer(await self._sign(root))
        except MeshcaError as error:
            if kept is None:
                raise
            self.problem = error
            return _offer(kept)

    async def make_root(self, *, same_key: str = "") -> Line:  # noqa: ARG002 - the port's
        """Never: whoever owns the mount makes its roots.

        Raises:
            Refused: reason `upstream`, always; says what to do in Vault.
        """
        mount = self._config.mount
        raise Refused(
            "upstream",
            f"roots are made in Vault: `vault write {mount}/root/rotate/internal common_name=...`, pin it in"
            f" upstream.roots, and once `meshca root status` shows that it is trusted, make it the default by"
            f" `vault write {mount}/root/replace default=next`",
        )

    async def forget(self, keep: Collection[str]) -> None:
        """Delete what is kept below every other root, keys included; Vault's issuers are the operator's.

        Raises:
            InvariantBroken: reason `forget`: not one that signs is to be kept; nothing was deleted.
            Unavailable: reason `ca_folder`.
        """
        if not any(id_ in keep for id_ in self._good()):
            raise InvariantBroken("forget", "no root that signs was named to be kept; nothing was deleted")
        for name in self._custody.forget(keep):
            log.info("ca.forgotten", kind="root", sha256=name)

    async def changed(self) -> None:
        """Return when the mount, the file of roots or Vault's being there differs from what `lines` saw."""
        while True:
            await self._clock.sleep(self._config.poll.total_seconds())
            try:
                now = (await self._sighted()).digest
            except MeshcaError as error:
                now = error.reason
            if now != self._seen:
                return

    async def _look(self) -> bool:
        """See what there is now; what was seen before stays when that fails."""
        try:
            sight = await self._sighted()
        except MeshcaError as error:
            self.problem, self._seen = error, error.reason
            return False
        if tuple(self._custody.named([])) != sight.roots:
            self._custody.name(sight.roots)
        self._sight, self._seen, self.problem = sight, sight.digest, sight.problem
        return True

    async def _sighted(self) -> Sight:
        found = await look(self._client, self._config.mount, self._config.issuer)
        self.reached_at = self._clock.now()
        return judged(self._config.roots, found, known=self._custody.named([]), now=self._clock.now())

    def _current(self) -> str:
        """The id of the root above the issuer that signs, as it was seen last; empty when it does not count."""
        return "" if self._sight is None or self._sight.root is None else certificate_id(self._sight.root)

    async def _sign(self, root: str) -> SigningMaterial:
        """A new intermediate below a root, kept when this returns.

        Raises:
            Unavailable: Vault refuses, or has no issuer below this root now.
        """
        issuer = None if self._sight is None else self._sight.issuer_below(root)
        if self._sight is None or issuer is None:
            raise self.problem or failure(Fault.ISSUER, f"nothing in the mount signs below the root {root}")
        ref = self._config.issuer if issuer == self._sight.look.current else issuer.id
        material = await self._signing.below(issuer, ref, self._sight.roots)
        self._custody.keep(material)
        return material

    def _good(self) -> Mapping[str, SigningMaterial]:
        """What is kept and can sign now, by the root's id."""
        now = self._clock.now()
        return {
            id_: material
            for id_, material in self._custody.load([]).items()
            if not find_faults(
                (material.certificate, *material.others), material.roots, material.key, self._trust_domain, now
            )
        }

    def _is_due(self, kept: SigningMaterial) -> bool:
        """Whether another shall be signed: at half life, or when another issuer signs below the same root now."""
        at = _half_life(kept)
        if at is not None and self._clock.now() >= at:
            return True
        sight, path = self._sight, _path(kept)
        mine = sight is not None and sight.root == path[-1] and len(path) > 1
        return mine and sight is not None and path[1] != sight.look.current.certificate

    def _lines(self, good: Mapping[str, SigningMaterial]) -> Sequence[Line]:
        named = self._custody.named([])
        current = self._current() or _newest(good)
        roots = dict.fromkeys((*named, *map(root_of, good.values())))
        return [
            Line(
                root=root,
                signs=certificate_id(root) in good,
                wanted=root in named,
                kept=certificate_id(root) in good,
                current=certificate_id(root) == current,
            )
            for root in sorted(roots, key=lambda one: (one.not_valid_before_utc, certificate_id(one)))
        ]


def _offer(material: SigningMaterial) -> Offer:
    return Offer(material=material, renew_at=_half_life(material))


def _half_life(material: SigningMaterial) -> datetime | None:
    """When to ask for the next; None when this lasts as long as what is above it: no other could last longer."""
    above = min(_path(material)[1:], key=lambda one: one.not_valid_after_utc)
    return half_life(material.certificate, above, 2 * AHEAD)


def _path(material: SigningMaterial) -> tuple[x509.Certificate, ...]:
    return find_path(material.certificate, material.others, material.roots)


def _newest(good: Mapping[str, SigningMaterial]) -> str:
    """The root whose intermediate was signed last: what the issuer was when Vault was last there."""
    return max(good, key=lambda id_: good[id_].certificate.not_valid_before_utc, default="")

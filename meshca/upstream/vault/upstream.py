"""An intermediate of ours below an issuer of Vault's, made anew at half life and kept until its root is forgotten.

What is kept and signed; what is seen is `upstream.vault.lookout`'s. While Vault cannot be had, what is kept goes
on: the roots that were seen last, and the intermediates until they end. Nothing is signed below a root that does
not count (`upstream.vault.trust`), and a root that appears in the mount is a line before anything below it signs.
Whether a line may come into force is `rotation`'s decision.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from cryptography import x509

from meshca.authority.faults import find_faults
from meshca.authority.material import SigningMaterial, certificate_id
from meshca.authority.outside import LeafSource
from meshca.authority.upstream import Line, Offer
from meshca.clock import Clock
from meshca.config.vault import VaultConfig
from meshca.errors import ConfigError, InvariantBroken, MeshcaError, Refused, Unavailable
from meshca.identity.spiffe_id import TrustDomain
from meshca.log import log
from meshca.upstream.sound_root import root_of
from meshca.upstream.vault.custody import Custody, known_roots
from meshca.upstream.vault.due import half_life_of, is_due
from meshca.upstream.vault.lookout import Lookout
from meshca.upstream.vault.mount import Issuer
from meshca.upstream.vault.signing import Signing
from meshca.upstream.vault.trust import still_pinned


class VaultUpstream:
    """Implements `authority.upstream.Upstream`.

    Args:
        config: which roots, and at which mount.
        lookout: sees the mount.
        signing: has intermediates signed.
        custody: keeps them.
        trust_domain: that is signed for.
        clock: for half lives.

    Attributes:
        problem: what went wrong since the last `lines` began, while what is kept goes on.
        leaves: who has Vault sign leaves, if that is configured.
    """

    problem: MeshcaError | None = None
    leaves: LeafSource | None = None

    def __init__(  # noqa: PLR0913 - its parts, by name
        self,
        config: VaultConfig,
        *,
        lookout: Lookout,
        signing: Signing,
        custody: Custody,
        trust_domain: TrustDomain,
        clock: Clock,
    ) -> None:
        self._config = config
        self._lookout = lookout
        self._signing = signing
        self._custody = custody
        self._trust_domain = trust_domain
        self._clock = clock
        self._again_at = math.inf  # when what was not signed may be asked for again; told once, by `changed`
        self._one = asyncio.Lock()
        self._unkept: dict[str, SigningMaterial] = {}  # signed, but not written yet, by the root's id

    @property
    def reached_at(self) -> datetime | None:
        """When the mount was last seen."""
        return self._lookout.reached_at

    async def lines(self) -> Sequence[Line]:
        """The roots that count, and those that are kept; below the issuer's own root an intermediate is signed.

        Raises:
            ConfigError: what is kept cannot be used, or the file of roots, and nothing that signs is kept.
            Unavailable: Vault cannot be had or refuses, and nothing that signs is kept.
        """
        looked = await self._looked()
        if self._unkept:
            async with self._one:
                await self._keep()
        current = self._lookout.current
        if looked and current and current not in await self._good():
            try:
                await self._fresh(current)
            except MeshcaError as error:
                self.problem = error
        await self._tell_damage()
        lines = await self._lines(await self._good())
        if self.problem is not None and not any(line.signs for line in lines):
            raise self.problem
        return lines

    async def obtain(self, root: str) -> Offer:
        """What is kept while it is in the first half of its life and below the issuer of today; otherwise new.

        Raises:
            ConfigError: nothing good is kept below this root, and nothing in the mount signs below it.
            Unavailable: nothing good is kept below this root, and none can be had now.
        """
        try:
            return self._offer(await self._fresh(root))
        except MeshcaError as error:
            kept = (await self._good()).get(root)
            if kept is None:
                raise
            self.problem = error
            return self._offer(kept)

    async def make_root(self, *, same_key: str = "") -> Line:  # noqa: ARG002 - the port's
        """Never: whoever owns the mount makes its roots.

        Raises:
            Refused: reason `upstream`, always; says what to do in Vault.
        """
        raise self._not_here()

    async def may_make_root(self) -> None:
        """Never, as `make_root`."""
        raise self._not_here()

    def _not_here(self) -> Refused:
        mount = self._config.mount
        return Refused(
            "upstream",
            f"roots are made in Vault; put one there by `vault write {mount}/root/rotate/internal"
            " common_name=...`, pin it in upstream.roots, and once `meshca root status` shows that it is trusted,"
            f" make it the default by `vault write {mount}/root/replace default=next`",
        )

    async def forget(self, keep: Collection[str]) -> None:
        """Delete what is kept below every other root, keys included; Vault's issuers are the operator's.

        What is below the issuer of today stays: otherwise it would be signed anew at each look, and deleted.

        Raises:
            InvariantBroken: reason `forget`: not one that signs is to be kept; nothing was deleted.
            Unavailable: reason `ca_folder`.
        """
        if not any(id_ in keep for id_ in await self._good()):
            raise InvariantBroken("forget", "no root that signs was named to be kept; nothing was deleted")
        async with self._one:  # what is signed and written just now is then there to be deleted
            left = {*keep, self._lookout.current}
            for root in self._unkept.keys() - left:
                self._signing.discard(self._unkept.pop(root))
            for name in await self._custody.forget(left):
                log.info("ca.forgotten", kind="root", sha256=name)

    def issuer(self, signer: str) -> Issuer | None:
        """The issuer of this name and key, as the mount was seen last.

        Raises:
            Unavailable: as the last look, while none has seen the mount.
        """
        return self._lookout.issuer(signer)

    async def changed(self) -> None:
        """Return when the mount, the file of roots or Vault's being there differs from what `lines` saw.

        And once when what was wanted and not signed may be asked for again: whoever cannot ask then has pauses of
        its own.
        """
        again_at, self._again_at = self._again_at, math.inf
        await self._lookout.changed(again_at)

    async def _looked(self) -> bool:
        """Whether the mount was seen now; what is wrong with it, or why it was not, is the problem."""
        try:
            self.problem = (await self._lookout.look()).problem
        except MeshcaError as error:
            self.problem = error
            return False
        return True

    async def _tell_damage(self) -> None:
        """Add what cannot be read of what is kept to the problem."""
        damage: list[str] = []
        await self._custody.load(damage)
        if damage and self.problem is None:
            self.problem = ConfigError("upstream.custody", damage)
        elif damage and isinstance(self.problem, Unavailable):
            told = "; ".join((self.problem.detail, *damage))
            self.problem = Unavailable(self.problem.reason, told)

    async def _fresh(self, root: str) -> SigningMaterial:
        """What is kept below a root while it is not due, otherwise another; whoever asks meanwhile gets the same.

        It goes on though its caller is cancelled: what Vault has signed is not asked for again.

        Raises:
            ConfigError: the issuer does not sign below this root.
            Unavailable: Vault refuses, or is not there.
        """
        making = asyncio.ensure_future(self._made(root))
        making.add_done_callback(_heard)
        return await asyncio.shield(making)

    async def _made(self, root: str) -> SigningMaterial:
        async with self._one:
            kept = (await self._good()).get(root)
            if kept is not None and not is_due(kept, self._lookout.sight, self._clock.now()):
                return kept
            material = await self._sign(root)
            self._unkept[root] = material
            await self._keep()
            return material

    async def _keep(self) -> None:
        """Write what is not written yet; while that fails it signs from memory, and the problem says so."""
        for root, material in tuple(self._unkept.items()):
            try:
                await self._custody.keep(material)
            except MeshcaError as error:
                self.problem = error
            else:
                del self._unkept[root]

    async def _sign(self, root: str) -> SigningMaterial:
        """A new intermediate below a root; it is kept nowhere yet."""
        sight = await self._lookout.fit()
        issuer = sight.issuer_below(root)
        if issuer is None:
            problem = f"it does not sign below the root {root}, or that does not count; see upstream.roots"
            raise ConfigError("upstream.issuer", [problem])
        try:
            return await self._signing.below(issuer, sight.roots)
        except MeshcaError:
            self._again_at = self._clock.monotonic() + (self._signing.left or math.inf)
            raise

    async def _good(self) -> Mapping[str, SigningMaterial]:
        """What is kept and can sign now, by the root's id."""
        now = self._clock.now()
        return {
            id_: material
            for id_, material in {**await self._custody.load([]), **self._unkept}.items()
            if not find_faults(
                (material.certificate, *material.others), material.roots, material.key, self._trust_domain, now
            )
        }

    async def _named(self) -> Sequence[x509.Certificate]:
        """The roots that counted last and are pinned now, also while Vault is away."""
        known = (
            await known_roots(self._custody, self._config.roots)
            if self._lookout.sight is None
            else self._lookout.sight.roots
        )
        try:
            return still_pinned(self._config.roots, known)
        except ConfigError as error:
            self.problem = self.problem or error
            return known

    def _offer(self, material: SigningMaterial) -> Offer:
        return Offer(material=material, renew_at=half_life_of(material, self._lookout.sight))

    async def _lines(self, good: Mapping[str, SigningMaterial]) -> Sequence[Line]:
        named = await self._named()
        current = self._lookout.current or _newest(good)
        roots = dict.fromkeys((*named, *map(root_of, good.values())))
        return [
            Line(
                root=root,
                signs=certificate_id(root) in good,
                wanted=root in named,
                kept=certificate_id(root) in good,
                current=certificate_id(root) == current,
                first_use=self._config.roots.accept == "first_use",
            )
            for root in sorted(roots, key=lambda one: (one.not_valid_before_utc, certificate_id(one)))
        ]


def _heard(made: asyncio.Future[SigningMaterial]) -> None:
    """Its failure is the answer to who waits for it; when nobody does any more it is nobody's."""
    if not made.cancelled():
        made.exception()


def _newest(good: Mapping[str, SigningMaterial]) -> str:
    """The root whose intermediate was signed last: what the issuer was when Vault was last there."""
    return max(good, key=lambda id_: good[id_].certificate.not_valid_before_utc, default="")

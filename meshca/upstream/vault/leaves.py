"""Has Vault sign leaves by a role, for those who must: one call for each, and none while Vault is away.

What comes back is given on unverified: `authority.outside` judges it where it is given out. That many wait here is
no fault of Vault's, and never told as one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from meshca.authority.outside import LeafWish, check_not_late
from meshca.clock import Clock
from meshca.config.vault import VaultConfig
from meshca.config.vault_leaves import VaultLeaves
from meshca.errors import MeshcaError, Unavailable
from meshca.log import log
from meshca.upstream.vault.client import Client, Lanes
from meshca.upstream.vault.faults import Fault, failure
from meshca.upstream.vault.leaf_brake import LeafBrake
from meshca.upstream.vault.mount import Issuer
from meshca.upstream.vault.session import Session

AT_ONCE: Final = 8  # calls and connections; Vault is not for us alone
WAITING: Final = 1024  # for a turn, of all workers; at two hundred leaves in a second that is five seconds
# Seconds after which a question that is given up counts as one that Vault left open: a leaf takes milliseconds,
# and agents wait for 5 or 10 s, no longer than the timeout.
HANGS: Final = 3.0


class Leaves:
    """Implements `authority.outside.LeafSource`.

    Args:
        config: at which mount, and for how long one may wait.
        role: that signs.
        session: calls as us.
        lanes: by which it asks.
        issuer: of this name and key (`authority.outside.name_and_key`), as the mount was seen last.
        clock: for how long it has not answered, and whether what is asked for is over.
        brake: holds back who must wait.
    """

    def __init__(  # noqa: PLR0913 - its parts, by name
        self,
        config: VaultConfig,
        role: VaultLeaves,
        *,
        session: Session,
        lanes: Lanes,
        issuer: Callable[[str], Issuer | None],
        clock: Clock,
        brake: LeafBrake,
    ) -> None:
        self._mount = config.mount
        self._seconds = config.timeout.total_seconds()
        self._role = role.role
        self._session = session
        self._lanes = lanes
        self._issuer = issuer
        self._clock = clock
        self._brake = brake

    @property
    def problem(self) -> MeshcaError | None:
        """As the port says."""
        return self._brake.problem

    def judged(self, identity: str, error: Unavailable | None) -> None:
        """As the port says."""
        self._brake.judged(identity, error)

    async def sign(self, wish: LeafWish) -> str:
        """As the port says; the issuer is named by its id, so that another default is no other signer.

        It takes no longer than the timeout to have a turn, and then again to have an answer.

        Raises:
            Unavailable: reason `vault_<fault>`, `leaf_waiting`, `leaf_late`, or `leaf_answer`, as of the last leaf
                of this identity.
        """
        with self._brake.asking(wish.identity):
            path = path_of(self._mount, self._above(wish), self._role)
            async with self._lanes.turn(self._seconds) as lane:
                self._brake.check(wish.identity)  # Vault may have gone while we waited
                check_not_late(wish.not_after, self._clock.now())
                return await self._signed(lane, path, wish)

    def _above(self, wish: LeafWish) -> Issuer:
        try:
            issuer = self._issuer(wish.issuer)
        except Unavailable as error:
            raise self._brake.failed(error) from None
        if issuer is None:
            raise self._brake.failed(failure(Fault.ISSUER, "of the name and key above our own intermediate"))
        return issuer

    async def _signed(self, lane: Client, path: str, wish: LeafWish) -> str:
        begun = self._clock.monotonic()
        try:
            async with asyncio.timeout(self._seconds):
                answer = await self._session.call("post", path, body_of(wish), by=lane)
            leaf = answer.data.text("certificate")
        except TimeoutError:
            raise self._brake.failed(failure(Fault.TIMEOUT, "of a leaf")) from None
        except asyncio.CancelledError:
            if self._clock.monotonic() - begun >= HANGS:
                self._brake.failed(failure(Fault.TIMEOUT, "of a leaf, until nobody waited for it any more"))
            raise
        except Unavailable as error:
            raise self._brake.refused(wish.identity, error) from None
        for warning in answer.warnings:
            log.debug("vault.warning", path=path, warning=warning)
        self._brake.answered()
        return leaf


def path_of(mount: str, issuer: Issuer, role: str) -> str:
    """Where an issuer signs leaves by a role."""
    return f"{mount}/issuer/{issuer.id}/sign/{role}"


def body_of(wish: LeafWish) -> dict[str, object]:
    """What the role is sent: its options must let nothing but the key of the CSR count, and the answer shows it.

    The end and no lifetime, so that no clock but ours decides how long it lives.
    """
    return {
        "csr": wish.csr,
        "uri_sans": wish.identity,
        "exclude_cn_from_sans": True,
        "not_after": wish.not_after.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "format": "pem",
    }

"""Has Vault sign leaves by a role, for those who must: one call for each, and none while Vault is away.

What comes back is given on unverified: `authority.outside` judges it where it is given out. An outage is waited
for by everybody together, so that it is no storm of calls. That many wait here is no fault of Vault's, and never
told as one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from meshca.authority.outside import LeafWish
from meshca.config.vault import VaultConfig
from meshca.config.vault_leaves import VaultLeaves
from meshca.errors import Unavailable
from meshca.log import log
from meshca.upstream.vault.client import Client, Lanes
from meshca.upstream.vault.faults import TABLE, Fault, count, failure, fault_of
from meshca.upstream.vault.mount import Issuer
from meshca.upstream.vault.patience import Patience
from meshca.upstream.vault.session import Session

AT_ONCE: Final = 8  # calls and connections; Vault is not for us alone
WAITING: Final = 1024  # for a turn, of all workers; at two hundred leaves in a second that is five seconds


class Leaves:
    """Implements `authority.outside.LeafSigner`.

    Args:
        config: at which mount, and for how long one may wait.
        role: that signs.
        session: calls as us.
        lanes: by which it asks.
        issuer: of this name and key (`authority.outside.name_and_key`), as the mount was seen last.
        patience: with the server.
    """

    def __init__(  # noqa: PLR0913 - its parts, by name
        self,
        config: VaultConfig,
        role: VaultLeaves,
        *,
        session: Session,
        lanes: Lanes,
        issuer: Callable[[str], Issuer | None],
        patience: Patience,
    ) -> None:
        self._mount = config.mount
        self._seconds = config.timeout.total_seconds()
        self._role = role.role
        self._session = session
        self._lanes = lanes
        self._issuer = issuer
        self._patience = patience

    async def sign(self, wish: LeafWish) -> str:
        """As the port says; the issuer is named by its id, so that another default is no other signer.

        It takes no longer than the timeout to have a turn, and then again to have an answer.

        Raises:
            Unavailable: reason `vault_<fault>`, or `leaf_waiting`.
        """
        self._patience.check()
        issuer = self._issuer(wish.issuer)
        if issuer is None:
            raise failure(Fault.ISSUER, "of the name and key above our own intermediate")
        path = path_of(self._mount, issuer, self._role)
        async with self._lanes.turn(self._seconds) as lane:
            self._patience.check()  # Vault may have gone while we waited
            return await self._signed(lane, path, wish)

    async def _signed(self, lane: Client, path: str, wish: LeafWish) -> str:
        try:
            async with asyncio.timeout(self._seconds):
                answer = await self._session.call("post", path, body_of(wish), by=lane)
            leaf = answer.data.text("certificate")
        except TimeoutError:
            raise self._noted(failure(Fault.TIMEOUT, "of a leaf")) from None
        except Unavailable as error:
            raise self._noted(error) from None
        for warning in answer.warnings:
            log.debug("vault.warning", path=path, warning=warning)
        self._patience.succeeded()
        return leaf

    def _noted(self, error: Unavailable) -> Unavailable:
        """Counted; an outage is waited for, what is refused to one may be granted to another."""
        count(error)
        fault = fault_of(error)
        if fault is not None and TABLE[fault].passes and not self._patience.left:
            self._patience.failed(error)
        return error


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

"""A real server below a real OpenBao, and workloads that ask it for certificates all the time.

ca = LiveCa(folder, settings(openbao, mount, folder))
async with issuing(ca) as callers: ...
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio
from cryptography import x509

from meshca.app.demo.load import Callers, calling
from meshca.clock import SystemClock
from meshca.errors import Unavailable
from tests.e2e.rotation.live_ca import LiveCa, until
from tests.real.openbao import Mount, OpenBao, add_root, make_default, vault_config

BEYOND = -1  # no status of gRPC's
PAUSE = 0.05  # seconds between two calls: OpenBao and the server share the machine
MUCH = "{rate: 1000000, burst: 1000000}"  # one caller is everybody
ENOUGH = 10  # certificates that show that issuing goes on


def settings(server: OpenBao, mount: Mount, folder: Path, **changes: Any) -> dict[str, str]:
    """The environment of a server whose upstream is a mount."""
    upstream = vault_config(server, mount, folder, **changes).model_dump(mode="json", exclude_none=True)
    return {"MESHCA__UPSTREAM": json.dumps(upstream), "MESHCA__LIMITS__PER_IDENTITY": MUCH}


class Issuing:
    """Somebody who asks for certificates all the time.

    Attributes:
        callers: what became of it.
    """

    def __init__(self, ca: LiveCa) -> None:
        self._ca = ca
        self.callers = Callers(name="CreateCertificate", call=self._create, expected=0, count=1)

    async def _create(self) -> int:
        """One certificate; the status of the call, or that it ends after what signed it."""
        await asyncio.sleep(PAUSE)
        try:
            found = await self._ca.server.create(self._ca.server.token(pod="web"))
        except grpc.aio.AioRpcError as error:
            code: int = error.code().value[0]
            return code
        above = x509.load_pem_x509_certificate(found.answer.cert_chain[1].encode())
        return BEYOND if found.leaf.not_valid_after_utc > above.not_valid_after_utc else 0

    async def goes_on(self) -> None:
        """Wait until more certificates were issued; nobody was refused one."""
        wanted = self.callers.answered + ENOUGH
        await until(lambda: self.callers.answered >= wanted or bool(self.callers.failed), "nothing is issued")
        self.callers.none_failed()


@contextlib.asynccontextmanager
async def issuing(ca: LiveCa) -> AsyncIterator[Issuing]:
    """Somebody asks until the end of the block; then nobody may have been refused."""
    made = Issuing(ca)
    async with calling(made.callers, SystemClock()):
        yield made
    made.callers.none_failed()


async def signer(ca: LiveCa) -> str:
    """SHA-256 of the intermediate that is in force."""
    shown = (await ca.ask(lambda client: client.status())).certificates
    return next(one.sha256 for one in shown if one.kind == "intermediate")


async def another_signer(ca: LiveCa, before: str) -> None:
    """Wait until another intermediate is in force."""

    async def other() -> bool:
        return await signer(ca) != before

    await until(other, "no other intermediate comes into force")


async def fault(ca: LiveCa, slug: str) -> None:
    """Wait until the status says that this, or nothing, is wrong with Vault; the server may be starting."""

    async def told() -> bool:
        with contextlib.suppress(Unavailable):
            return (await ca.ask(lambda client: client.status())).upstream.fault == slug
        return False

    await until(told, f"the status does not say {slug or 'that all is well'}")


def faults(ca: LiveCa, slug: str) -> float:
    """How often it was counted."""
    return ca.server.metric(f'meshca_vault_faults_total{{fault="{slug}"}}')


async def second_root(server: OpenBao, mount: Mount, folder: Path) -> None:
    """Another root is made in the mount, pinned, and made the one below which the mount signs."""
    pinned = await add_root(server, mount.path, issuer="two")
    with (folder / "roots.pem").open("a") as roots:
        roots.write(pinned)
    await make_default(server, mount.path, "two")


def kept(ca: LiveCa) -> int:
    """Below how many roots an intermediate is kept."""
    return len(list((ca.folder / "data/vault").glob("*.json")))

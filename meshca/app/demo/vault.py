"""The demo's Vault: a real OpenBao that has the root's key, is sealed for a while, and is given another root.

What is done here is an operator's: nothing of it is in meshca's power.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from meshca.app import openbao_mount, openbao_process
from meshca.app.admin_client import connect
from meshca.app.demo.load import Callers
from meshca.app.demo.renewal import Serials, renewed_under_load
from meshca.app.demo.telling import Teller
from meshca.app.openbao_mount import Mount
from meshca.app.openbao_process import OpenBao
from meshca.authority.history import Kind, Record
from meshca.authority.lifecycle import State
from meshca.clock import Clock
from meshca.errors import Unavailable
from meshca.rpc.status_report import UpstreamReport

_MOUNT: Final = "pki"
_SOON: Final = 60.0  # seconds; an idle machine needs about one, and ten for the end of a root
_POLL_SECONDS: Final = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Vault:
    """It, while it runs.

    Attributes:
        server: the process.
        mount: the engine that signs.
        pins: the file with the roots that count.
        settings: what names it to the CA, as environment.
    """

    server: OpenBao
    mount: Mount
    pins: Path
    settings: dict[str, str]


async def start(binary: Path, folder: Path, running: AsyncExitStack, tell: Teller) -> Vault:
    """Start it, set it up as an operator would, and show it.

    Raises:
        Unavailable: reason `demo_step`.
    """
    with tell.step("a real OpenBao that has the root's key and gives it to nobody", "OpenBao") as step:
        folder.mkdir(mode=0o700)  # noqa: ASYNC240 - once, before anything runs
        process = openbao_process.running(binary, folder, openbao_process.free_pair(), clock=tell.clock)
        server = await running.enter_async_context(process)
        tell.watch("OpenBao", server.log_tail)
        await openbao_mount.enable_approle(server)
        mount = await openbao_mount.new_mount(server, _MOUNT)
        secret_id, pins = folder / "secret-id", folder / "roots.pem"
        secret_id.touch(mode=0o600)
        secret_id.write_text(mount.secret_id.reveal(), encoding="ascii")
        pins.write_text(mount.root, encoding="ascii")
        step.say(f"{server.address}, PKI engine at {_MOUNT}, an AppRole that may have intermediates signed")
    upstream = {
        "kind": "vault",
        "address": server.address,
        "allow_http": True,
        "mount": _MOUNT,
        "login": {"approle": {"role_id": mount.role_id, "secret_id_file": str(secret_id)}},
        "roots": {"file": str(pins)},
        "poll": "500ms",
    }
    return Vault(server=server, mount=mount, pins=pins, settings={"MESHCA__UPSTREAM": json.dumps(upstream)})


async def sealed(vault: Vault, admin: str, tell: Teller, rows: Sequence[Callers], serials: Serials) -> None:
    """It is sealed while everybody calls and every certificate is renewed, and then unsealed; nobody notices.

    Args:
        vault: it.
        admin: the CA's administrator's socket.
        tell: shows the step.
        rows: who calls.
        serials: the serial numbers in use now.

    Raises:
        Unavailable: reason `demo_step`.
    """
    title = "Vault is sealed, all certificates are renewed without it, and no request fails"
    with tell.step(title, "CA", "OpenBao", "agent") as step:
        await vault.server.seal()
        begun = tell.clock.monotonic()
        told = await says(admin, "sealed", tell.clock)
        days = told.autonomy.days
        step.say(f"the CA says: sealed; it can do without for {days} days", autonomy_days=days)
        await renewed_under_load(step, rows, serials, tell.clock)
        away = tell.clock.monotonic() - begun
        await vault.server.unseal()
        await says(admin, "", tell.clock)
        back = tell.clock.monotonic() - begun - away
        step.say(
            f"{away:5.1f} s sealed; {back:.1f} s after it was to be unsealed the CA sees it again",
            sealed_s=round(away, 3),
            back_s=round(back, 3),
        )


async def change_root(vault: Vault, admin: str, clock: Clock) -> None:
    """Another root takes the place of the first: made, pinned, made the default, and the first one unpinned.

    Raises:
        Unavailable: reason `demo_vault`, when a step is not followed.
    """
    second = await openbao_mount.add_root(vault.server, _MOUNT, issuer="two")
    vault.pins.write_text(vault.mount.root + second, encoding="ascii")
    await reaches(admin, (State.ACTIVE, State.DISTRIBUTING), clock)
    await openbao_mount.make_default(vault.server, _MOUNT, "two")
    await reaches(admin, (State.RETIRING, State.ACTIVE), clock)
    vault.pins.write_text(second, encoding="ascii")
    await reaches(admin, (State.RETIRED, State.ACTIVE), clock)


async def says(admin: str, fault: str, clock: Clock) -> UpstreamReport:
    """What the CA says of Vault, once that is this fault, or nothing.

    Raises:
        Unavailable: reason `demo_vault`, when it does not come to that.
    """
    deadline = clock.monotonic() + _SOON
    async with connect(Path(admin)) as client:
        while (found := (await client.status()).upstream).fault != fault:
            if clock.monotonic() > deadline:
                raise Unavailable("demo_vault", f"the CA says of Vault `{found.fault}`, expected `{fault}`")
            await clock.sleep(_POLL_SECONDS)
    return found


async def reaches(admin: str, wanted: tuple[State, ...], clock: Clock) -> None:
    """Return once the roots stand so, the oldest first.

    Raises:
        Unavailable: reason `demo_vault`, when they do not come to that.
    """
    deadline = clock.monotonic() + _SOON
    async with connect(Path(admin)) as client:
        while (states := _states(await client.roots.records())) != wanted:
            if clock.monotonic() > deadline:
                raise Unavailable("demo_vault", f"the roots are {', '.join(states)}, expected {', '.join(wanted)}")
            await clock.sleep(_POLL_SECONDS)


def _states(records: Sequence[Record]) -> tuple[State, ...]:
    return tuple(one.state for one in records if one.kind is Kind.ROOT)

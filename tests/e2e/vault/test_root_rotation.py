"""The root in Vault is replaced by the operator's steps there, below real Envoys under load; no request fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshca.authority.history import Kind
from meshca.authority.lifecycle import Act, State
from tests.e2e.rotation.live_ca import LiveCa, live_ca, until
from tests.e2e.rotation.mesh import running_mesh
from tests.e2e.vault.below import fault, issuing, kept, settings
from tests.real.openbao import OpenBao, add_root, make_default, new_mount

pytestmark = [pytest.mark.real("envoy"), pytest.mark.real("openbao")]
SHORT = {"MESHCA__SVID__DEFAULT_LIFETIME": "20s"}


async def test_by_the_operators_steps(openbao: OpenBao, place: Path) -> None:
    """Made, pinned, made the default, taken away: 0 failed requests, 0 refused handshakes, and no step forced."""
    mount = await new_mount(openbao)
    pins = place / "roots.pem"
    async with live_ca(place, {**settings(openbao, mount, place), **SHORT}) as ca, running_mesh(place, ca) as mesh:
        async with mesh.load() as load:
            await load.is_answered()
            second = await add_root(openbao, mount.path, issuer="two")
            pins.write_text(mount.root + second)
            await ca.reaches(State.ACTIVE, State.DISTRIBUTING)
            assert kept(ca) == 1  # trusted before anything is signed below it
            await make_default(openbao, mount.path, "two")
            await ca.reaches(State.RETIRING, State.ACTIVE)
            await load.is_answered()
            pins.write_text(second)
            await ca.finishes(State.RETIRED, State.ACTIVE)
            await load.is_answered()
        await went_by_the_table(ca)
        await until(lambda: kept(ca) == 1, "what is below the old root is kept on")


async def went_by_the_table(ca: LiveCa) -> None:
    """Each step when nobody could be harmed by it, and on nobody's order."""
    changes = [change for change in await ca.history() if change.kind is Kind.ROOT]
    assert not any(change.forced for change in changes)
    guards = {change.act: change.guard for change in changes}
    assert guards[Act.ACTIVATE].startswith("2 of 2 workloads trust")
    assert guards[Act.RETIRE].startswith("no workload holds a certificate below")


async def test_taken_out_of_the_mount(openbao: OpenBao, place: Path) -> None:
    """Where the mount says what counts, the old root goes with its issuer."""
    mount = await new_mount(openbao)
    upstream = settings(openbao, mount, place, roots={"accept": "any"})
    async with live_ca(place, {**upstream, **SHORT}) as ca:
        await add_root(openbao, mount.path, issuer="two")
        await ca.reaches(State.ACTIVE, State.DISTRIBUTING)
        await make_default(openbao, mount.path, "two")
        await ca.reaches(State.RETIRING, State.ACTIVE)
        await openbao.call("DELETE", f"{mount.path}/issuer/one")
        await ca.finishes(State.RETIRED, State.ACTIVE)
        await until(lambda: kept(ca) == 1, "what is below the old root is kept on")


async def test_unpinned_too_early(openbao: OpenBao, place: Path) -> None:
    """The old root's pin goes before the new root is the default: told, what signs goes on, the rest by itself."""
    mount = await new_mount(openbao)
    async with live_ca(place, {**settings(openbao, mount, place), **SHORT}) as ca:
        async with issuing(ca) as load:  # to callers who learnt only the old root, so not after its end
            second = await add_root(openbao, mount.path, issuer="two")
            (place / "roots.pem").write_text(second)
            await ca.reaches(State.ACTIVE, State.DISTRIBUTING)
            await fault(ca, "root_unpinned")
            await load.goes_on()
            await make_default(openbao, mount.path, "two")
            await ca.reaches(State.RETIRING, State.ACTIVE)
            await load.goes_on()
        await ca.finishes(State.RETIRED, State.ACTIVE)
        await fault(ca, "")

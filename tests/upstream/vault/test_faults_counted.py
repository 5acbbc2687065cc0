"""Each fault is counted where a look, a signature or a login meets it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from meshca import metrics
from meshca.authority.material import certificate_id
from meshca.errors import Unavailable
from meshca.upstream.vault.client import Client
from meshca.upstream.vault.faults import Fault, count, failure
from meshca.upstream.vault.logins import Token
from meshca.upstream.vault.session import Session
from tests.fakes.clock import FakeClock
from tests.fakes.jitter import Jitter
from tests.fakes.vault import SIGN, FakeVault
from tests.fakes.vault_rig import ONE, OTHER, Rig


def counted(fault: Fault) -> float:
    """So often until now."""
    return float(metrics.vault_faults.labels(fault.value)._value.get())


@pytest.mark.parametrize("fault", Fault)
async def test_a_look(tmp_path: Path, fault: Fault) -> None:
    """Whatever stops one is counted once."""
    rig, before = Rig(tmp_path), counted(fault)
    rig.vault.error = failure(fault)
    with pytest.raises(Unavailable):
        await rig.open().lines()
    assert counted(fault) == before + 1


@pytest.mark.parametrize("fault", Fault)
async def test_a_signature(tmp_path: Path, fault: Fault) -> None:
    """Whatever stops one is counted once, found by the server or by us."""
    rig, before = Rig(tmp_path), counted(fault)
    upstream = rig.open()
    rig.vault.errors[SIGN] = failure(fault)
    with pytest.raises(Unavailable):
        await upstream.lines()
    assert counted(fault) == before + 1


@pytest.mark.parametrize("fault", Fault)
async def test_a_login(fault: Fault) -> None:
    """Whatever stops one that keeps the token fresh is counted once."""

    async def refuse(client: Client) -> Token:
        raise failure(fault)

    clock, before = FakeClock(), counted(fault)
    task = asyncio.create_task(Session(FakeVault(clock), refuse, clock, Jitter(1.0)).run())
    await clock.advance(0)
    task.cancel()
    assert counted(fault) == before + 1


async def test_a_root_that_does_not_count(tmp_path: Path) -> None:
    """A look that sees an issuer below another root than the pinned one is counted, though it is not stopped."""
    rig, before = Rig(tmp_path), counted(Fault.ROOT_UNPINNED)
    upstream = rig.open({"sha256": [certificate_id(OTHER.certificate)]})
    with pytest.raises(Unavailable):
        await upstream.lines()
    assert counted(Fault.ROOT_UNPINNED) == before + 1


async def test_a_refusal_that_a_fresh_login_mends(tmp_path: Path) -> None:
    """A token that was revoked stops nothing, and is seen here all the same."""
    rig, before = Rig(tmp_path), counted(Fault.FORBIDDEN)
    rig.vault.token_seconds = 30 * 86_400
    upstream = rig.open()
    await upstream.lines()
    rig.vault.revoke()
    rig.clock.move(20 * 86_400)
    await upstream.obtain(ONE)
    assert (rig.vault.signed, counted(Fault.FORBIDDEN)) == (2, before + 1)


def test_an_error_of_another_room() -> None:
    """It is no fault of Vault's, and gets no label."""
    count(Unavailable("ca_folder", "x"))
    count(None)
    labels = {sample.labels["fault"] for family in metrics.vault_faults.collect() for sample in family.samples}
    assert labels <= set(Fault)

"""Files that are damaged and clocks that jump: the last good intermediate signs on."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from meshca.authority.material import SigningMaterial
from meshca.authority.outside import name_and_key
from meshca.errors import Unavailable
from meshca.upstream.kept_folder import KeptFolder
from meshca.upstream.vault.custody import AtOnce
from meshca.upstream.vault.faults import Fault, failure
from tests.fakes.clock import FakeClock
from tests.fakes.vault_rig import (
    HOUR,
    LIFE,
    ONE,
    OTHER,
    ROOT,
    TWO,
    Rig,
    lose,
    told,
    turn,
)


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    """Where nothing was started yet."""
    return Rig(tmp_path)


class TestDamage:
    """What is kept and cannot be read."""

    async def test_signed_anew(self, rig: Rig) -> None:
        """A damaged file below the current root is replaced by a new intermediate."""
        await rig.open().lines()
        lose(rig.folder / f"vault/{ONE[:16]}.json", "damaged")
        upstream = rig.open()
        assert told(await upstream.lines()) == {ONE: (True, True, True)}
        assert (upstream.problem, rig.vault.signed) == (None, 2)

    async def test_of_another_root(self, rig: Rig) -> None:
        """One below another root is told, and nothing else changes."""
        upstream = rig.open()
        await upstream.lines()
        rig.vault.issuers = [(OTHER,)]
        await upstream.lines()
        lose(rig.folder / f"vault/{ONE[:16]}.json", "damaged")
        assert told(await upstream.lines()) == {TWO: (True, True, True)}
        assert ONE[:16] in str(upstream.problem)

    async def test_in_an_outage(self, rig: Rig) -> None:
        """While Vault is down both are told, as what can pass, so that it is tried again."""
        await rig.open().lines()
        lose(rig.folder / f"vault/{ONE[:16]}.json", "damaged")
        rig.vault.error = failure(Fault.SEALED)
        with pytest.raises(Unavailable, match=rf"vault_sealed.*{ONE[:16]}\.json"):
            await rig.open().lines()

    async def test_disk_is_full(self, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
        """Roots that cannot be written down are told, and what is kept signs on."""
        custody = KeptFolder(rig.folder, "vault")
        upstream = rig.open(custody=AtOnce(custody))
        await upstream.lines()
        rig.vault.issuers = [(ROOT,), (OTHER,)]
        monkeypatch.setattr(custody, "name", no_room)
        assert told(await upstream.lines()) == {ONE: (True, True, True)}
        assert upstream.problem is not None
        assert upstream.problem.reason == "ca_folder"


class TestFullDisk:
    """What was signed cannot be written."""

    async def test_signed_once(self, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
        """It signs from memory while that is told, no other is signed, and it is written once there is room."""
        folder = KeptFolder(rig.folder, "vault")
        upstream = rig.open(custody=AtOnce(folder))
        first = await turn(upstream)
        rig.clock.move((LIFE / 2).total_seconds() + HOUR)
        with monkeypatch.context() as full:
            full.setattr(folder, "keep", no_room)
            second = await turn(upstream)
            for _ in range(20):
                assert (await turn(upstream)).material.fingerprint == second.material.fingerprint
                assert upstream.problem is not None
                assert upstream.problem.reason == "ca_folder"
        assert second.material.fingerprint != first.material.fingerprint
        assert (await turn(upstream)).material.fingerprint == second.material.fingerprint
        assert (upstream.problem, rig.vault.signed) == (None, 2)
        assert (await turn(rig.open())).material.fingerprint == second.material.fingerprint

    async def test_forgotten(self, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
        """What is below a root that is forgotten meanwhile is not written later."""
        folder = KeptFolder(rig.folder, "vault")
        upstream = rig.open(custody=AtOnce(folder))
        with monkeypatch.context() as full:
            full.setattr(folder, "keep", no_room)
            await turn(upstream)
            rig.vault.issuers = [(OTHER,)]
            assert told(await upstream.lines()) == {ONE: (True, False, False), TWO: (True, True, True)}
            await upstream.forget({TWO})
        assert told(await upstream.lines()) == {TWO: (True, True, True)}
        assert rig.kept == [f"{TWO[:16]}.json"]

    async def test_forgotten_while_it_is_written(self, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
        """Then it is deleted as soon as it is there."""
        custody = AtOnce(KeptFolder(rig.folder, "vault"))
        upstream = rig.open(custody=custody)
        await turn(upstream)
        rig.vault.issuers = [(OTHER,)]
        keep, tasks = custody.keep, list[asyncio.Task[object]]()

        async def slowly(material: SigningMaterial) -> None:
            rig.vault.issuers = [(ROOT,)]
            tasks.append(asyncio.create_task(upstream.lines()))
            while upstream.issuer(name_and_key(OTHER.certificate)):  # noqa: ASYNC110 - until the look is over
                await asyncio.sleep(0)
            tasks.append(asyncio.create_task(upstream.forget({ONE})))
            for _ in range(10):
                await asyncio.sleep(0)
            await keep(material)

        with monkeypatch.context() as slow:
            slow.setattr(custody, "keep", slowly)
            await upstream.lines()
        await asyncio.gather(*tasks)
        assert rig.kept == [f"{ONE[:16]}.json"]


def no_room(_: object) -> None:
    """Refuse."""
    raise Unavailable("ca_folder", "cannot write: no space left")


class TestClock:
    """A clock that jumps."""

    async def test_an_hour_ahead(self, rig: Rig) -> None:
        """An hour ahead and back again: nothing is asked for."""
        upstream = rig.open()
        first = await turn(upstream)
        for jump in (HOUR, -HOUR):
            rig.clock.move(jump)
            assert (await turn(upstream)).material.fingerprint == first.material.fingerprint
        assert rig.vault.signed == 1

    async def test_an_hour_back(self, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
        """Behind Vault's clock nothing begins, which is told; what is kept is there when it is right again."""
        upstream = rig.open()
        first = await turn(upstream)
        true = FakeClock()
        monkeypatch.setattr(rig.vault, "_clock", true)
        true.move(1)
        rig.vault.tokens = dict.fromkeys(rig.vault.tokens, HOUR)
        rig.clock.move(-HOUR)
        with pytest.raises(Unavailable, match=r"not valid before .*; check the clocks"):
            await upstream.lines()
        rig.clock.move(HOUR)
        assert (await turn(upstream)).material.fingerprint == first.material.fingerprint

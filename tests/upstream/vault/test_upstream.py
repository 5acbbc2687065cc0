"""An intermediate of ours below a Vault in memory: what is kept, and when another is asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from meshca.authority.material import certificate_id
from meshca.authority.slot import Slot
from meshca.errors import InvariantBroken, Refused, Unavailable
from meshca.upstream.sound_root import root_of
from meshca.upstream.vault.answer import Answer
from meshca.upstream.vault.faults import Fault, failure, fault_of
from meshca.upstream.vault.patience import OUTAGE
from meshca.upstream.vault.upstream import VaultUpstream
from tests.fakes.pki import DAY, NOW, TRUST_DOMAIN, make_ca
from tests.fakes.vault import SIGN
from tests.fakes.vault_rig import (
    HOUR,
    LIFE,
    ONE,
    OTHER,
    ROOT,
    TWO,
    Rig,
    told,
    turn,
)


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    """Where nothing was started yet."""
    return Rig(tmp_path)


async def test_signs(rig: Rig) -> None:
    """What is offered signs and verifies a trial leaf below the root, and is to be renewed at half life."""
    upstream = rig.open()
    offer = await turn(upstream)
    assert upstream.reached_at == NOW
    assert Slot.prove(offer.material, TRUST_DOMAIN, NOW).path[-1] == ROOT.certificate
    assert offer.renew_at is not None
    assert abs(offer.renew_at - (NOW + LIFE / 2)) < timedelta(minutes=5)


async def test_without_lines(rig: Rig) -> None:
    """Material can be asked for before the lines are."""
    assert root_of((await rig.open().obtain(ONE)).material) == ROOT.certificate


async def test_without_lines_in_an_outage(rig: Rig) -> None:
    """Then an outage is told as one."""
    rig.vault.error = failure(Fault.SEALED)
    with pytest.raises(Unavailable) as failed:
        await rig.open().obtain(ONE)
    assert fault_of(failed.value) is Fault.SEALED


class TestRestart:
    """What is kept is found again."""

    async def test_no_second(self, rig: Rig) -> None:
        """A restart offers the same, and Vault has signed once."""
        before = await turn(rig.open())
        after = await turn(rig.open())
        assert (after.material.fingerprint, rig.vault.signed) == (before.material.fingerprint, 1)

    async def test_vault_is_down(self, rig: Rig) -> None:
        """While Vault is down a restart serves what is kept, with the same line, and says why."""
        before = await turn(rig.open())
        rig.vault.error = failure(Fault.UNREACHABLE)
        again = rig.open()
        assert told(await again.lines()) == {ONE: (True, True, True)}
        assert again.problem is not None
        assert again.problem.reason == "vault_unreachable"
        assert (await again.obtain(ONE)).material.fingerprint == before.material.fingerprint

    async def test_nothing_is_kept(self, rig: Rig) -> None:
        """Without anything kept a start while Vault is down says so, and works once it is there."""
        upstream = rig.open()
        rig.vault.error = failure(Fault.UNREACHABLE)
        with pytest.raises(Unavailable, match="vault_unreachable"):
            await upstream.lines()
        rig.vault.error = None
        rig.clock.move(OUTAGE.ceiling)
        assert told(await upstream.lines()) == {ONE: (True, True, True)}

    async def test_the_newest_is_current(self, rig: Rig) -> None:
        """While Vault is down the root counts as current below which was signed last."""
        await rig.open().lines()
        rig.clock.move(HOUR)
        rig.vault.issuers, rig.vault.default = [(ROOT,), (OTHER,)], 1
        await rig.open().lines()
        rig.vault.error = failure(Fault.UNREACHABLE)
        assert told(await rig.open().lines()) == {ONE: (True, True, False), TWO: (True, True, True)}

    async def test_two_processes(self, rig: Rig) -> None:
        """Two that begin on one data directory at once both sign, and offer the same from then on."""
        one, other = rig.open(), rig.open()
        await asyncio.gather(one.lines(), other.lines())
        first, second = await one.obtain(ONE), await other.obtain(ONE)
        assert first.material.fingerprint == second.material.fingerprint
        assert rig.kept == [f"{ONE[:16]}.json"]


class TestFailedPreparation:
    """Nothing is left of what failed."""

    @pytest.mark.parametrize("wrong", ["another key", "another issuer"])
    async def test_wrong_answer(self, rig: Rig, wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """A certificate that is not what was asked for is refused, and its key is nowhere."""
        if wrong == "another key":
            made = make_ca("stranger", ROOT, end=NOW + DAY).pem
        else:
            made = make_ca("stranger", make_ca("unknown"), end=NOW + DAY).pem
        monkeypatch.setattr(rig.vault, "_sign", lambda *_: {"certificate": made})
        with pytest.raises(Unavailable, match="vault_answer"):
            await rig.open().lines()
        assert [path for path in rig.folder.rglob("*") if "PRIVATE" in contents(path)] == []

    async def test_refused(self, rig: Rig) -> None:
        """What Vault refuses to sign leaves no key either."""
        rig.vault.errors[SIGN] = failure(Fault.FORBIDDEN)
        with pytest.raises(Unavailable, match="vault_forbidden"):
            await rig.open().lines()
        assert [path for path in rig.folder.rglob("*") if "PRIVATE" in contents(path)] == []

    async def test_issuer_changes_meanwhile(self, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
        """What is below another root than was asked for, because the default has just changed, is not kept."""
        rig.vault.issuers = [(ROOT,), (OTHER,)]
        upstream = rig.open()
        sign = rig.vault._sign
        change = monkeypatch.setattr

        def changing(path: str, body: Mapping[str, object]) -> dict[str, object]:
            change(rig.vault, "default", 1)
            return sign(path, body)

        change(rig.vault, "_sign", changing)
        with pytest.raises(Unavailable, match="has just changed"):
            await upstream.lines()
        assert rig.kept == []
        assert told(await upstream.lines()) == {ONE: (False, True, False), TWO: (True, True, True)}


def contents(path: Path) -> str:
    """Of a file; nothing of a folder."""
    return path.read_text() if path.is_file() else ""


class TestHalfLife:
    """When another is asked for."""

    async def test_due(self, rig: Rig) -> None:
        """Not before half life, and then a new one, once."""
        upstream = rig.open()
        first = await turn(upstream)
        rig.clock.move((LIFE / 2 - timedelta(hours=1)).total_seconds())
        assert (await turn(upstream)).material.fingerprint == first.material.fingerprint
        rig.clock.move(2 * HOUR)
        second = await turn(upstream)
        assert second.material.fingerprint != first.material.fingerprint
        assert (await turn(upstream)).material.fingerprint == second.material.fingerprint
        assert (rig.vault.signed, rig.kept) == (2, [f"{ONE[:16]}.json"])

    async def test_outage(self, rig: Rig) -> None:
        """With Vault down at half life the old one goes on and why is told; a new one comes when it is back."""
        upstream = rig.open()
        first = await turn(upstream)
        rig.clock.move((LIFE * 2 / 3).total_seconds())
        rig.vault.error = failure(Fault.SEALED)
        for _ in range(3):
            assert (await turn(upstream)).material.fingerprint == first.material.fingerprint
            assert upstream.problem is not None
            assert upstream.problem.reason == "vault_sealed"
            rig.clock.move(HOUR)
        rig.vault.error = None
        assert (await turn(upstream)).material.fingerprint != first.material.fingerprint
        assert upstream.problem is None

    async def test_outage_until_the_end(self, rig: Rig) -> None:
        """What has ended is offered no more, and a restart is not needed once Vault is back."""
        upstream = rig.open()
        await turn(upstream)
        rig.vault.error = failure(Fault.SEALED)
        rig.clock.move(LIFE.total_seconds())
        with pytest.raises(Unavailable, match="vault_sealed"):
            await upstream.lines()
        with pytest.raises(Unavailable, match="vault_sealed"):
            await upstream.obtain(ONE)
        rig.vault.error = None
        rig.clock.move(60)
        await turn(upstream)
        assert upstream.problem is None

    async def test_refused_at_half_life(self, rig: Rig) -> None:
        """When it is the signature that is refused the old one goes on just so."""
        upstream = rig.open()
        first = await turn(upstream)
        rig.clock.move((LIFE / 2).total_seconds() + HOUR)
        rig.vault.errors[SIGN] = failure(Fault.FORBIDDEN)
        assert (await turn(upstream)).material.fingerprint == first.material.fingerprint
        assert upstream.problem is not None
        assert upstream.problem.reason == "vault_forbidden"

    async def test_as_long_as_the_issuer(self, rig: Rig) -> None:
        """One that lasts as long as what is above it is not renewed: no other could last longer."""
        rig.vault.issuers = [(make_ca("brief root", end=NOW + 10 * DAY),)]
        upstream = rig.open()
        [line] = await upstream.lines()
        offer = await upstream.obtain(certificate_id(line.root))
        rig.clock.move(9 * DAY.total_seconds())
        again = await turn(upstream, certificate_id(line.root))
        assert (offer.renew_at, again.material.fingerprint) == (None, offer.material.fingerprint)


async def test_asked_twice_at_once(rig: Rig) -> None:
    """Whoever asks while one is being signed gets the same: an administrator's act beside the driver's turn."""
    upstream = rig.open()
    await upstream.lines()
    rig.clock.move((LIFE / 2).total_seconds() + HOUR)
    one, two = await asyncio.gather(upstream.obtain(ONE), upstream.obtain(ONE))
    assert one.material.fingerprint == two.material.fingerprint
    assert rig.vault.signed == 2


async def test_asked_by_one_who_gives_up(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is being signed then is finished and kept, so nobody uses up Vault, or its pauses, by giving up."""
    upstream, call = rig.open(), rig.vault.call
    await upstream.lines()
    rig.clock.move((LIFE / 2).total_seconds() + HOUR)
    asked, answer, times = asyncio.Event(), asyncio.Event(), []

    async def slowly(*sent: Any, **how: Any) -> Answer:
        if sent[1] == SIGN:
            times.append(rig.clock.now())
            asked.set()
            await answer.wait()
        return await call(*sent, **how)

    monkeypatch.setattr(rig.vault, "call", slowly)
    waiting = asyncio.create_task(upstream.obtain(ONE))
    await asked.wait()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    answer.set()
    await upstream.obtain(ONE)
    assert (len(times), rig.vault.signed) == (1, 2)


class TestForget:
    """What is not to be kept."""

    async def two(self, rig: Rig) -> VaultUpstream:
        """With a root that is gone from the mount, and one that is there."""
        upstream = rig.open()
        await upstream.lines()
        rig.vault.issuers = [(OTHER,)]
        await upstream.lines()
        return upstream

    async def test_forget(self, rig: Rig) -> None:
        """What is below it goes with its key."""
        upstream = await self.two(rig)
        await upstream.forget({TWO})
        assert (told(await upstream.lines()), rig.kept) == ({TWO: (True, True, True)}, [f"{TWO[:16]}.json"])

    async def test_nothing_is_signed_below_it_again(self, rig: Rig) -> None:
        """While the issuer is still below it what is kept stays, so that Vault is not asked at each look."""
        upstream = rig.open()
        await upstream.lines()
        rig.vault.issuers = [(OTHER,), (ROOT,)]
        await upstream.lines()
        await upstream.forget({ONE})
        for _ in range(3):
            await upstream.lines()
            await upstream.forget({ONE})
        assert (rig.vault.signed, len(rig.kept)) == (2, 2)

    async def test_it_goes_with_the_issuer(self, rig: Rig) -> None:
        """What was left because the issuer was below it goes once another is the issuer."""
        upstream = await self.two(rig)
        await upstream.forget({ONE})
        rig.vault.issuers = [(ROOT,)]
        await upstream.lines()
        await upstream.forget({ONE})
        assert rig.kept == [f"{ONE[:16]}.json"]

    async def test_never_the_last(self, rig: Rig) -> None:
        """When nothing that signs is to be kept nothing is deleted."""
        upstream = await self.two(rig)
        with pytest.raises(InvariantBroken, match="forget"):
            await upstream.forget({"f" * 64})
        assert len(rig.kept) == 2


async def test_make_root(rig: Rig) -> None:
    """Roots are made in Vault, and the refusal says by which commands."""
    with pytest.raises(Refused, match="vault write pki/root/rotate/internal"):
        await rig.open().make_root()

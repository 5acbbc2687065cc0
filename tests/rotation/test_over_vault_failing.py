"""How often Vault is asked while it fails and an intermediate is good: looks, signatures and keys made for them.

By a driver that runs, with the longest pauses that chance gives.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import pytest

from meshca.errors import ConfigError, MeshcaError
from meshca.identity.key_type import KeyType
from meshca.svid.signature import SigningKey
from meshca.upstream.vault.faults import Fault, Throttled, failure
from meshca.upstream.vault.patience import OUTAGE, REFUSAL
from meshca.upstream.vault.signing import PERHAPS_SIGNED, InMemory
from tests.fakes.vault import LOGIN, SEEN, SIGN
from tests.fakes.vault_rig import LIFE, ROOT, SECOND_UPPER, UPPER, Rig
from tests.rotation.over_vault import driving, running

pytestmark = pytest.mark.usefixtures("judged_at_once")
TEN_MINUTES = 600.0
LIMITED = Throttled(failure(Fault.RATE_LIMITED), 200.0)
REFUSED = [2, 4, 8, 16, 32, *[REFUSAL.ceiling] * 8]  # seconds between attempts within ten minutes


class Counted(InMemory):
    """Keys that are counted."""

    def __init__(self) -> None:
        self.left = self.made = 0
        self.error: MeshcaError | None = None

    def create(self, key_type: KeyType) -> SigningKey:
        """A new key."""
        self.made += 1
        if self.error is not None:
            raise self.error
        self.left += 1
        return super().create(key_type)

    def discard(self, key: SigningKey) -> None:
        """One fewer."""
        self.left -= 1


class Due(Rig):
    """Past half life, with an intermediate that is good and another that is due; time goes on by `pass_`."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.keys = Counted()
        self.vault.token_seconds = 0

    def half_life(self) -> None:
        """From now on another is wanted; what was asked before is forgotten."""
        self.clock.move((LIFE * 2 / 3).total_seconds())
        self.vault.asked_at.clear()
        self.vault.signed = self.keys.made = 0

    def pauses(self, path: str) -> list[float]:
        """Between two questions, in seconds; those at one instant are one."""
        return [round(after - before, 3) for before, after in pairwise(dict.fromkeys(self.vault.asked_at[path]))]


@pytest.fixture
def rig(tmp_path: Path) -> Due:
    """Where nothing was started yet."""
    return Due(tmp_path)


async def test_sealed(rig: Due) -> None:
    """It is looked at every three seconds, and nothing else; within three seconds of its end another is signed."""
    async with running(rig, keys=rig.keys, jitter=1.0):
        rig.half_life()
        rig.vault.error = failure(Fault.SEALED)
        await rig.clock.advance(TEN_MINUTES)
        assert set(rig.pauses(SEEN)) == {1, 2, OUTAGE.ceiling}
        assert (set(rig.vault.asked_at), rig.keys.made) == ({SEEN}, 0)
        rig.vault.error = None
        await rig.clock.advance(OUTAGE.ceiling)
    assert (rig.vault.signed, rig.keys.made) == (1, 1)


@pytest.mark.parametrize("path", [SEEN, SIGN])
async def test_quota(rig: Due, path: str) -> None:
    """As long as the server says nothing is asked again, and no key is made."""
    async with running(rig, keys=rig.keys, jitter=1.0):
        rig.half_life()
        rig.vault.errors[path] = LIMITED
        await rig.clock.advance(TEN_MINUTES + 1)
        assert rig.pauses(path) == [200.0] * 3
        assert rig.keys.made == (0 if path == SEEN else 4)
        del rig.vault.errors[path]
        await rig.clock.advance(200.0)
    assert rig.vault.signed == 1


async def test_quota_and_another_issuer(rig: Due) -> None:
    """What the server asked for holds for another issuer as well."""
    rig.vault.issuers = [(UPPER, ROOT), (SECOND_UPPER, ROOT)]
    async with running(rig, "5s", keys=rig.keys, jitter=1.0):
        rig.half_life()
        rig.vault.errors[SIGN] = LIMITED
        await rig.clock.advance(10.0)
        rig.vault.default = 1
        await rig.clock.advance(180.0)
    assert len(rig.vault.asked_at[SIGN]) == 1


@pytest.mark.parametrize("fault", [Fault.BAD_REQUEST, Fault.FORBIDDEN, *sorted(PERHAPS_SIGNED)])
async def test_refused_signature(rig: Due, fault: Fault) -> None:
    """It is asked for ever more rarely, also where it may have been signed; a key is made for each, and goes."""
    async with running(rig, keys=rig.keys, jitter=1.0):
        rig.half_life()
        rig.vault.errors[SIGN] = failure(fault)
        await rig.clock.advance(TEN_MINUTES)
        assert rig.pauses(SIGN) == REFUSED
        assert (rig.keys.made, rig.keys.left) == (1 + len(REFUSED), 1)
        del rig.vault.errors[SIGN]
        await rig.clock.advance(REFUSAL.ceiling)
    assert rig.vault.signed == 1


async def test_signed_at_last(rig: Due) -> None:
    """Once it is signed the mount is looked at as ever: nobody waits for a signature any more."""
    async with running(rig, keys=rig.keys, jitter=1.0):
        rig.half_life()
        rig.vault.errors[SIGN] = failure(Fault.BAD_REQUEST)
        await rig.clock.advance(TEN_MINUTES)
        del rig.vault.errors[SIGN]
        await rig.clock.advance(REFUSAL.ceiling)
        assert rig.vault.signed == 1
        rig.vault.asked_at.clear()
        await rig.clock.advance(TEN_MINUTES)
        assert len(rig.vault.asked_at[SEEN]) <= TEN_MINUTES / 30


async def test_store_is_away_as_well(rig: Due) -> None:
    """A signature that may be asked for again is told once: a turn that cannot is followed by a pause."""
    async with driving(rig, keys=rig.keys, jitter=1.0) as driven:
        rig.half_life()
        rig.vault.errors[SIGN] = failure(Fault.FORBIDDEN)
        await rig.clock.advance(TEN_MINUTES)
        driven.store.down = True
        before = driven.rotation.progress.failures
        await rig.clock.advance(TEN_MINUTES)
        assert driven.rotation.progress.failures - before <= 1 + len(REFUSED)


async def test_wrong_answer(rig: Due, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the server signs in vain is as rare."""

    def another(path: str, body: Mapping[str, object]) -> dict[str, object]:
        rig.vault.signed += 1
        return {"certificate": UPPER.pem, "ca_chain": [UPPER.pem, ROOT.pem]}

    async with running(rig, keys=rig.keys, jitter=1.0) as rotation:
        rig.half_life()
        monkeypatch.setattr(rig.vault, "_sign", another)
        await rig.clock.advance(TEN_MINUTES)
    assert rotation.progress.error is not None
    assert rotation.progress.error.reason == "vault_answer"
    assert rig.vault.signed == 1 + len(REFUSED)


@pytest.mark.parametrize("fault", [Fault.ANSWER, Fault.FORBIDDEN])
async def test_another_issuer(rig: Due, fault: Fault) -> None:
    """Another is asked at the next look whatever failed with the first; only a 403 is of the path of both."""
    rig.vault.issuers = [(UPPER, ROOT), (SECOND_UPPER, ROOT)]
    async with running(rig, "5s", keys=rig.keys, jitter=1.0):
        rig.half_life()
        rig.vault.errors[SIGN] = failure(fault)
        await rig.clock.advance(TEN_MINUTES)
        del rig.vault.errors[SIGN]
        rig.vault.default = 1
        await rig.clock.advance(5.0 if fault is Fault.ANSWER else REFUSAL.ceiling)
    assert rig.vault.signed == 1


async def test_login_is_refused(rig: Due) -> None:
    """Without a token no key is made; once logins are good again it is asked for within a minute."""
    rig.vault.token_seconds = 60
    async with running(rig, keys=rig.keys, jitter=1.0):
        rig.half_life()
        rig.vault.errors[LOGIN] = failure(Fault.LOGIN_REFUSED)
        await rig.clock.advance(TEN_MINUTES)
        assert (rig.pauses(LOGIN), rig.keys.made) == (REFUSED, 0)
        del rig.vault.errors[LOGIN]
        await rig.clock.advance(REFUSAL.ceiling)
    assert (rig.vault.signed, rig.keys.made) == (1, 1)


@pytest.mark.parametrize("error", [failure(Fault.ISSUER_ENDS), ConfigError("upstream.custody", ["no token"])])
async def test_no_key(rig: Due, error: MeshcaError) -> None:
    """Where no key can be made nobody is asked, and it is tried ever more rarely."""
    async with running(rig, keys=rig.keys, jitter=1.0):
        rig.half_life()
        rig.keys.error = error
        await rig.clock.advance(TEN_MINUTES)
    assert SIGN not in rig.vault.asked_at
    assert rig.keys.made <= 2 * (1 + len(REFUSED))


async def test_standby(rig: Due) -> None:
    """Sent to an active node that is gone, the login is tried again every three seconds, and no key is made."""
    rig.vault.token_seconds = 60
    async with running(rig, keys=rig.keys, jitter=1.0):
        rig.half_life()
        rig.vault.errors[LOGIN] = failure(Fault.REDIRECTED)
        await rig.clock.advance(TEN_MINUTES)
        assert (set(rig.pauses(LOGIN)), rig.keys.made) == ({1, 2, OUTAGE.ceiling}, 0)
        del rig.vault.errors[LOGIN]
        await rig.clock.advance(OUTAGE.ceiling)
    assert rig.vault.signed == 1

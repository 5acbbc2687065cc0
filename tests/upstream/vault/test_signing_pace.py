"""When an intermediate that failed may be asked for again, and when its key is made."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography import x509

from meshca.authority.keys import new_key
from meshca.authority.material import SigningMaterial
from meshca.errors import Unavailable
from meshca.identity.key_type import KeyType
from meshca.svid.signature import SigningKey
from meshca.upstream.vault.faults import Fault, Throttled, failure
from meshca.upstream.vault.mount import Issuer
from meshca.upstream.vault.patience import OUTAGE, REFUSAL
from meshca.upstream.vault.session import Session
from meshca.upstream.vault.signing import PERHAPS_SIGNED, InMemory, Signing
from tests.fakes.jitter import Jitter
from tests.fakes.pki import TRUST_DOMAIN
from tests.fakes.vault import LOGIN, SIGN, FakeVault
from tests.fakes.vault_rig import OTHER, ROOT, Rig

ISSUER = Issuer(id="one", certificate=ROOT.certificate, others=())


class Keys(InMemory):
    """Notes what was asked before each key."""

    def __init__(self, vault: FakeVault) -> None:
        self.vault = vault
        self.before: list[list[str]] = []

    def create(self, key_type: KeyType) -> SigningKey:
        """A new key."""
        self.before.append(list(self.vault.calls))
        return new_key(key_type)


class Bench:
    """Signatures, and the server that gives them."""

    def __init__(self, rig: Rig) -> None:
        self.clock, self.vault = rig.clock, rig.vault
        self.keys = Keys(self.vault)
        session = Session(self.vault, self.vault.login, self.clock, Jitter(1.0))
        self.signing = Signing(rig.config(), session, TRUST_DOMAIN, self.clock, self.keys, rng=Jitter(1.0))

    async def signed(self, *more: x509.Certificate) -> SigningMaterial:
        """An intermediate, with more roots than the issuer's."""
        return await self.signing.below(ISSUER, (ROOT.certificate, *more))

    async def refused(self, *more: x509.Certificate) -> str:
        """Why none is given."""
        with pytest.raises(Unavailable) as caught:
            await self.signed(*more)
        return caught.value.reason


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Of a server that is well."""
    return Bench(Rig(tmp_path))


async def test_key_comes_after_the_token(bench: Bench) -> None:
    """A key is made once there is a token to send its request with."""
    await bench.signed()
    assert (bench.keys.before, bench.vault.calls) == ([[LOGIN]], [LOGIN, SIGN])


async def test_no_key_without_a_token(bench: Bench) -> None:
    """Where nobody logs us in none is made."""
    bench.vault.errors[LOGIN] = failure(Fault.LOGIN_REFUSED)
    assert await bench.refused() == "vault_login_refused"
    assert bench.keys.before == []
    assert bench.signing.left == 2 * REFUSAL.floor


async def test_one_key_for_both_calls(bench: Bench) -> None:
    """A call that is repeated with a fresh token is the same request."""
    await bench.signed()
    bench.vault.revoke()
    await bench.signed()
    assert (len(bench.keys.before), bench.vault.times(SIGN)) == (2, 3)


async def test_held(bench: Bench) -> None:
    """What failed is refused for the same reason until its pause is over: nothing is asked and no key made."""
    bench.vault.errors[SIGN] = failure(Fault.ANSWER)
    for _ in range(3):
        assert await bench.refused() == "vault_answer"
    assert (bench.vault.times(SIGN), len(bench.keys.before)) == (1, 1)
    bench.vault.errors.clear()
    bench.clock.move(bench.signing.left)
    await bench.signed()


async def test_success(bench: Bench) -> None:
    """After one that was signed the next failure is a first one."""
    left = []
    for errors in (3, 1):
        bench.vault.errors[SIGN] = failure(Fault.ANSWER)
        for _ in range(errors):
            bench.clock.move(bench.signing.left)
            await bench.refused()
        left.append(bench.signing.left)
        bench.clock.move(bench.signing.left)
        bench.vault.errors.clear()
        await bench.signed()
    assert left == [8 * REFUSAL.floor, 2 * REFUSAL.floor]


@pytest.mark.parametrize("fault", [*sorted(PERHAPS_SIGNED), Fault.FORBIDDEN])
async def test_rarely(bench: Bench, fault: Fault) -> None:
    """What the server may have signed, or refuses, is asked for after a minute, when it fails again and again."""
    bench.vault.errors[SIGN] = failure(fault)
    for _ in range(10):
        assert await bench.refused() == f"vault_{fault.value}"
        bench.clock.move(REFUSAL.ceiling)
    await bench.refused()
    assert bench.signing.left == REFUSAL.ceiling


async def test_by_turns(bench: Bench) -> None:
    """Whatever it may have signed by is one reason: a proxy that says this and that is asked as rarely."""
    for _ in range(3):
        for fault in sorted(PERHAPS_SIGNED):
            bench.vault.errors[SIGN] = failure(fault)
            await bench.refused()
            bench.clock.move(REFUSAL.ceiling)
    await bench.refused()
    assert bench.signing.left == REFUSAL.ceiling


@pytest.mark.parametrize("fault", [Fault.SEALED, Fault.STANDBY, Fault.REDIRECTED])
async def test_soon(bench: Bench, fault: Fault) -> None:
    """What it cannot have signed is asked for within three seconds."""
    bench.vault.errors[SIGN] = failure(fault)
    for _ in range(10):
        await bench.refused()
        bench.clock.move(OUTAGE.ceiling)
    await bench.refused()
    assert bench.signing.left == OUTAGE.ceiling


async def test_another(bench: Bench) -> None:
    """Beside other roots it is another request, and not held back."""
    bench.vault.errors[SIGN] = failure(Fault.ANSWER)
    await bench.refused()
    await bench.refused(OTHER.certificate)
    assert bench.vault.times(SIGN) == 2
    await bench.refused(OTHER.certificate)
    assert bench.vault.times(SIGN) == 2


async def test_quota(bench: Bench) -> None:
    """A pause that the server asked for holds whatever is asked for."""
    bench.vault.errors[SIGN] = Throttled(failure(Fault.RATE_LIMITED), 200.0)
    await bench.refused()
    assert await bench.refused(OTHER.certificate) == "vault_rate_limited"
    assert (bench.vault.times(SIGN), bench.signing.left) == (1, 200.0)

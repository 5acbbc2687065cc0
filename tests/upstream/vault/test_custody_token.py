"""Keys of intermediates in a token: found again by their certificates, destroyed when nothing came of them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from meshca.authority.keys import key_id
from meshca.authority.slot import Slot
from meshca.errors import Unavailable
from meshca.identity.key_type import KeyType
from meshca.keystore.pkcs11 import Pkcs11KeyStore, open_key
from meshca.keystore.token_uri import Token
from meshca.upstream.kept_folder import KeptFolder
from meshca.upstream.vault.custody import AtOnce, InToken
from meshca.upstream.vault.faults import Fault, failure
from meshca.upstream.vault.upstream import VaultUpstream
from tests.fakes.logs import captured_logs
from tests.fakes.pki import TRUST_DOMAIN
from tests.fakes.vault import SIGN
from tests.fakes.vault_rig import LIFE, ONE, OTHER, ROOT, TWO, Rig, lose, turn

pytestmark = pytest.mark.real("softhsm")


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    """Where nothing was started yet."""
    return Rig(tmp_path)


@pytest.fixture
def keys(softhsm: Token, tmp_path: Path) -> Pkcs11KeyStore:
    """Of this test alone."""
    return Pkcs11KeyStore(softhsm, str(tmp_path))


def started(rig: Rig, keys: Pkcs11KeyStore) -> VaultUpstream:
    """As after a restart."""
    folder = AtOnce(KeptFolder(rig.folder, "vault", open_key))
    return rig.open(custody=InToken(folder, keys), keys=keys)


async def test_found_again(rig: Rig, keys: Pkcs11KeyStore) -> None:
    """A restart finds the key by the certificate, has no second signed, and no key was ever in a file."""
    before = await turn(started(rig, keys))
    after = await turn(started(rig, keys))
    assert (after.material.fingerprint, rig.vault.signed) == (before.material.fingerprint, 1)
    assert Slot.prove(after.material, TRUST_DOMAIN, rig.clock.now()).issuer.signer_id
    assert keys.key_ids() == {key_id(after.material.certificate.public_key())}
    assert not [path for path in rig.folder.rglob("*") if path.is_file() and "PRIVATE" in path.read_text()]


async def test_failed_preparation(rig: Rig, keys: Pkcs11KeyStore) -> None:
    """When nothing is signed the key that was made for it is destroyed."""
    rig.vault.errors[SIGN] = failure(Fault.BAD_REQUEST)
    with pytest.raises(Unavailable, match="vault_bad_request"):
        await started(rig, keys).lines()
    assert keys.key_ids() == frozenset()


async def test_below_another_root(rig: Rig, keys: Pkcs11KeyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the default issuer changes meanwhile, the key of what is below another root is destroyed too."""
    sign = rig.vault._sign

    def changing(path: str, body: Mapping[str, object]) -> dict[str, object]:
        rig.vault.default = 1
        return sign(path, body)

    rig.vault.issuers = [(ROOT,), (OTHER,)]
    monkeypatch.setattr(rig.vault, "_sign", changing)
    with pytest.raises(Unavailable, match="has just changed"):
        await started(rig, keys).lines()
    assert keys.key_ids() == frozenset()


async def test_token_away_meanwhile(rig: Rig, keys: Pkcs11KeyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """When it cannot be destroyed then, that is logged and the next start does."""
    rig.vault.errors[SIGN] = failure(Fault.BAD_REQUEST)

    def away(_: object) -> None:
        raise Unavailable("key_token", "the token is away")

    with monkeypatch.context() as patched, captured_logs() as logs:
        patched.setattr(keys, "discard", away)
        with pytest.raises(Unavailable, match="vault_bad_request"):
            await started(rig, keys).lines()
    assert [entry["reason"] for entry in logs if entry["event"] == "vault.key_left"] == ["key_token"]
    assert len(keys.key_ids()) == 1
    rig.vault.errors.clear()
    offer = await turn(started(rig, keys))
    assert keys.key_ids() == {key_id(offer.material.certificate.public_key())}


async def test_killed_meanwhile(rig: Rig, keys: Pkcs11KeyStore) -> None:
    """A key that a process that was killed has left is destroyed by the next start."""
    keys.create(KeyType.EC_P256)
    offer = await turn(started(rig, keys))
    assert keys.key_ids() == {key_id(offer.material.certificate.public_key())}


async def test_half_life(rig: Rig, keys: Pkcs11KeyStore) -> None:
    """The key before the newest stays until the one after it: it signs until the newest is in force."""
    upstream = started(rig, keys)
    names = []
    for _ in range(3):
        names.append(key_id((await turn(upstream)).material.certificate.public_key()))
        rig.clock.move((LIFE * 2 / 3).total_seconds())
    assert keys.key_ids() == set(names[1:])


async def test_asked_twice_at_once(rig: Rig, keys: Pkcs11KeyStore) -> None:
    """The key of what is kept is there, whoever else asked meanwhile."""
    upstream = started(rig, keys)
    first = await turn(upstream)
    rig.clock.move((LIFE * 2 / 3).total_seconds())
    one, two = await asyncio.gather(upstream.obtain(ONE), upstream.obtain(ONE))
    assert one.material.fingerprint == two.material.fingerprint
    assert keys.key_ids() == {key_id(each.material.certificate.public_key()) for each in (first, one)}


async def test_being_prepared(rig: Rig, keys: Pkcs11KeyStore) -> None:
    """What is kept, forgotten or given up meanwhile takes no key with it that is being prepared."""
    upstream = started(rig, keys)
    offers = [await turn(upstream)]
    prepared = keys.create(KeyType.EC_P256)
    for _ in range(2):
        rig.clock.move((LIFE * 2 / 3).total_seconds())
        offers.append(await turn(upstream))
    keys.discard(keys.create(KeyType.EC_P256))
    await upstream.forget({ONE})
    last = {key_id(each.material.certificate.public_key()) for each in offers[1:]}
    assert keys.key_ids() == {key_id(prepared.public_key()), *last}


async def test_cannot_be_written(rig: Rig, keys: Pkcs11KeyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """What signs from memory has its key, and is found again once it could be written."""
    folder = KeptFolder(rig.folder, "vault", open_key)
    upstream = rig.open(custody=InToken(AtOnce(folder), keys), keys=keys)
    await turn(upstream)
    rig.clock.move((LIFE * 2 / 3).total_seconds())

    def full(_: object) -> None:
        raise Unavailable("ca_folder", "cannot write: no space left")

    with monkeypatch.context() as patched:
        patched.setattr(folder, "keep", full)
        before = await turn(upstream)
        await upstream.forget({ONE})
    await upstream.lines()
    after = await turn(started(rig, keys))
    assert after.material.fingerprint == before.material.fingerprint
    assert keys.key_ids() == {key_id(after.material.certificate.public_key())}


async def key_goes_with_its_root(rig: Rig, upstream: VaultUpstream, keys: Pkcs11KeyStore) -> None:
    """Of two roots that sign one is given up: its key is destroyed, the other stays."""
    await turn(upstream)
    rig.vault.issuers = [(OTHER,)]
    offer = await turn(upstream, TWO)
    assert len(keys.key_ids()) == 2
    await upstream.forget({TWO})
    assert keys.key_ids() == {key_id(offer.material.certificate.public_key())}


async def test_never_written(rig: Rig, keys: Pkcs11KeyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key of what signed from memory alone goes with its root."""
    folder = KeptFolder(rig.folder, "vault", open_key)
    upstream = rig.open(custody=InToken(AtOnce(folder), keys), keys=keys)

    def full(_: object) -> None:
        raise Unavailable("ca_folder", "cannot write: no space left")

    monkeypatch.setattr(folder, "keep", full)
    await key_goes_with_its_root(rig, upstream, keys)


async def test_forget(rig: Rig, keys: Pkcs11KeyStore) -> None:
    """With a root its key goes."""
    upstream = started(rig, keys)
    await key_goes_with_its_root(rig, upstream, keys)


async def test_damaged_file(rig: Rig, keys: Pkcs11KeyStore) -> None:
    """While a kept file cannot be read no key is destroyed: it may be restored from a backup."""
    first = await turn(started(rig, keys))
    lose(rig.folder / f"vault/{ONE[:16]}.json", "damaged")
    rig.vault.issuers = [(OTHER,)]
    await started(rig, keys).lines()
    assert key_id(first.material.certificate.public_key()) in keys.key_ids()


async def test_key_is_lost(rig: Rig, keys: Pkcs11KeyStore) -> None:
    """When the token has lost the key another intermediate is signed."""
    await turn(started(rig, keys))
    keys.keep_only(frozenset())
    again = await turn(started(rig, keys))
    assert rig.vault.signed == 2
    assert Slot.prove(again.material, TRUST_DOMAIN, rig.clock.now()).issuer.signer_id

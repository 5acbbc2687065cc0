"""One contract for every custody of intermediates."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path

import pytest

from meshca.authority.material import certificate_id
from meshca.authority.slot import Slot
from meshca.keystore.pkcs11 import Pkcs11KeyStore, open_key
from meshca.keystore.token_uri import Token
from meshca.upstream.kept_folder import KeptFolder
from meshca.upstream.kept_memory import KeptMemory
from meshca.upstream.kept_secret import KeptSecret
from meshca.upstream.seal import Seal
from meshca.upstream.vault.custody import AtOnce, Custody, InToken
from tests.fakes.pki import NOW, TRUST_DOMAIN, make_ca, material_of
from tests.fakes.secret_source import FakeSecrets, FakeSource

ROOT, LATER = make_ca("root"), make_ca("later", begin=NOW)
UPPER = make_ca("upper", ROOT)
FIRST = material_of(make_ca("first", UPPER), UPPER, roots=[LATER, ROOT])
NEXT = material_of(make_ca("next", ROOT), roots=[ROOT])
SECOND = material_of(make_ca("second", LATER), roots=[LATER])
ONE, TWO = certificate_id(ROOT.certificate), certificate_id(LATER.certificate)
Open = Callable[[], Custody]


def folder(place: Path) -> Open:
    """Files."""
    return lambda: AtOnce(KeptFolder(place, "vault"))


def memory(_: Path) -> Open:
    """Which a restart does not find again."""
    kept = AtOnce(KeptMemory())
    return lambda: kept


def secret(_: Path) -> Open:
    """A Secret."""
    store = FakeSecrets()
    return lambda: KeptSecret(FakeSource(store, ("meshca-vault-one",)), None)


def sealed(place: Path) -> Open:
    """A Secret, sealed."""
    store, file = FakeSecrets(), place / "seal"
    file.touch(0o600)
    file.write_bytes(base64.b64encode(bytes(32)))
    return lambda: KeptSecret(FakeSource(store, ("meshca-vault-one",)), Seal(file))


def in_token(place: Path, token: Token) -> Open:
    """Files, with keys in a token."""
    keys = Pkcs11KeyStore(token, str(place))
    return lambda: InToken(AtOnce(KeptFolder(place, "vault", open_key)), keys)


MAKES = (folder, memory, secret, sealed)
IN_TOKEN = pytest.param("softhsm", id="token", marks=pytest.mark.real("softhsm"))


@pytest.fixture(params=[*(pytest.param(make, id=make.__name__) for make in MAKES), IN_TOKEN])
def start(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """Each call is a start after a restart, where that finds anything."""
    if request.param == "softhsm":
        return in_token(tmp_path, request.getfixturevalue("softhsm"))
    make: Callable[[Path], Open] = request.param
    return make(tmp_path)


async def held(custody: Custody) -> dict[str, str]:
    """The fingerprints of what is kept, by the root's id, without a problem."""
    problems: list[str] = []
    found = {root: material.fingerprint for root, material in (await custody.load(problems)).items()}
    assert problems == []
    return found


async def test_nothing(start: Open) -> None:
    """To begin with there is nothing, and nothing to forget."""
    custody = start()
    assert (await held(custody), tuple(await custody.named([])), await custody.forget(())) == ({}, (), ())


async def test_keep(start: Open) -> None:
    """What was kept is there with its key, also after a restart, and so are the roots that it names."""
    await start().keep(FIRST)
    custody = start()
    assert await held(custody) == {ONE: FIRST.fingerprint}
    [material] = (await custody.load([])).values()
    assert material.key.public_key() == FIRST.key.public_key()
    assert Slot.prove(material, TRUST_DOMAIN, NOW).path[-1] == ROOT.certificate
    assert tuple(await custody.named([])) == FIRST.roots


async def test_replaced(start: Open) -> None:
    """Newer material replaces the one below the same root only."""
    custody = start()
    for material in (FIRST, SECOND, NEXT):
        await custody.keep(material)
    for each in (custody, start()):
        assert await held(each) == {ONE: NEXT.fingerprint, TWO: SECOND.fingerprint}


async def test_name(start: Open) -> None:
    """Roots can be named without material."""
    custody = start()
    await custody.name(FIRST.roots)
    for each in (custody, start()):
        assert (tuple(await each.named([])), await held(each)) == (FIRST.roots, {})


async def test_forget(start: Open) -> None:
    """What is below other roots goes, for good; the roots that are named stay."""
    custody = start()
    await custody.keep(FIRST)
    await custody.keep(SECOND)
    assert await custody.forget({TWO}) == (ONE[:16],)
    for each in (custody, start()):
        assert (await held(each), tuple(await each.named([]))) == ({TWO: SECOND.fingerprint}, SECOND.roots)

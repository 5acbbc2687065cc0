"""What is kept in a Secret: rivals, an API server that is away, damage, and the seal."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path

import pytest

from meshca.authority.material import certificate_id
from meshca.authority.secret_source import Overtaken
from meshca.errors import Unavailable
from meshca.upstream.kept_secret import KeptSecret
from meshca.upstream.seal import Seal
from tests.fakes.pki import NOW, make_ca, material_of
from tests.fakes.secret_source import FakeSecrets, FakeSource
from tests.fakes.vault_rig import Rig, turn

ROOT, LATER = make_ca("root"), make_ca("later", begin=NOW)
FIRST = material_of(make_ca("first", ROOT), roots=[ROOT])
SECOND = material_of(make_ca("second", LATER), roots=[LATER])
ONE, TWO = certificate_id(ROOT.certificate), certificate_id(LATER.certificate)
NAME = "meshca-vault-one"
DOWN = Unavailable("kube", "the API server does not answer")


@pytest.fixture
def store() -> FakeSecrets:
    """Of the cluster."""
    return FakeSecrets()


@pytest.fixture
def source(store: FakeSecrets) -> FakeSource:
    """Of the replica."""
    return FakeSource(store, (NAME,))


@pytest.fixture
def seal(tmp_path: Path) -> Seal:
    """With a key of its own."""
    return seal_of(tmp_path, bytes(32))


def seal_of(folder: Path, key: bytes) -> Seal:
    """With a key."""
    file = folder / f"seal-{key.hex()[:4]}"
    file.touch(0o600)
    file.write_bytes(base64.b64encode(key) + b"\n")
    return Seal(file)


async def test_rival(store: FakeSecrets, source: FakeSource) -> None:
    """Where somebody else has written too, both are kept."""
    kept, rival = KeptSecret(source, None), KeptSecret(FakeSource(store, (NAME,)), None)
    assert await kept.load([]) == {}
    await rival.keep(SECOND)
    await kept.keep(FIRST)
    assert set(await KeptSecret(source, None).load([])) == {ONE, TWO}


async def test_rival_without_end(source: FakeSource) -> None:
    """Where somebody else is always first that is told."""
    source.errors["create"] = Overtaken("test", "it exists")
    with pytest.raises(
        Unavailable, match=f"custody: Secret {NAME} in namespace istio-system is written by others"
    ):
        await KeptSecret(source, None).keep(FIRST)


async def test_away_at_the_start(source: FakeSource) -> None:
    """What was never read cannot be told while the API server is away, and is once it is back."""
    kept = KeptSecret(source, None)
    source.errors["read"] = DOWN
    for ask in (kept.load, kept.named):
        with pytest.raises(Unavailable, match="kube"):
            await ask([])
    source.errors.clear()
    assert await kept.load([]) == {}


async def test_away_later(source: FakeSource) -> None:
    """What was read or written signs on while the API server is away; what is new is not kept."""
    kept = KeptSecret(source, None)
    await kept.keep(FIRST)
    source.errors = dict.fromkeys(("read", "create", "replace"), DOWN)
    with pytest.raises(Unavailable, match="kube"):
        await kept.keep(SECOND)
    assert set(await kept.load([])) == {ONE}


async def test_what_others_put_there(store: FakeSecrets, source: FakeSource) -> None:
    """Keys that are not ours are left as they are."""
    store.put(NAME, {"notes": "of an operator"})
    kept = KeptSecret(source, None)
    await kept.keep(FIRST)
    assert await kept.forget(()) == (ONE[:16],)
    assert store.held[NAME].contents["notes"] == b"of an operator"


@pytest.mark.parametrize("key", [f"{ONE[:16]}.json", "named.pem"], ids=["material", "roots"])
async def test_damage(store: FakeSecrets, source: FakeSource, key: str) -> None:
    """A key that is damaged is told by the name of the Secret and its own; the rest is used."""
    await KeptSecret(source, None).keep(FIRST)
    spoil(store, key, b"damaged")
    problems: list[str] = []
    kept = KeptSecret(source, None)
    found = len(await kept.load(problems)) + len(await kept.named(problems))
    assert (found, len(problems)) == (1, 1)
    assert problems[0].startswith(f"Secret {NAME} in namespace istio-system, key {key}: ")


def spoil(store: FakeSecrets, key: str, contents: bytes) -> None:
    """Put something else under a key."""
    before = store.held[NAME]
    store.keep(replace(before, contents={**before.contents, key: contents}))


async def test_sealed(store: FakeSecrets, source: FakeSource, seal: Seal) -> None:
    """Sealed, the Secret shows neither key nor certificate."""
    await KeptSecret(source, seal).keep(FIRST)
    assert [key for key, text in store.held[NAME].contents.items() if b"BEGIN" in text] == []


@pytest.mark.parametrize("key", [None, bytes([1]) * 32])
async def test_another_seal(source: FakeSource, seal: Seal, tmp_path: Path, key: bytes | None) -> None:
    """What was sealed is damaged to whoever has another key or none."""
    await KeptSecret(source, seal).keep(FIRST)
    other = None if key is None else seal_of(tmp_path, key)
    problems: list[str] = []
    assert (await KeptSecret(source, other).load(problems), len(problems)) == ({}, 1)


async def test_not_sealed(source: FakeSource, seal: Seal) -> None:
    """What was not sealed is not believed once it has to be: whoever writes the Secret could have put it there."""
    await KeptSecret(source, None).keep(FIRST)
    problems: list[str] = []
    assert (await KeptSecret(source, seal).named(problems), len(problems)) == ((), 1)


async def test_restart(tmp_path: Path, store: FakeSecrets, seal: Seal) -> None:
    """A pod that lost its disk finds its intermediate and its key, and has no second signed."""
    rig = Rig(tmp_path)
    starts = [rig.open(custody=KeptSecret(FakeSource(store, (NAME,)), seal)) for _ in range(2)]
    before, after = [await turn(upstream) for upstream in starts]
    assert (after.material.fingerprint, rig.vault.signed) == (before.material.fingerprint, 1)
    assert rig.kept == []

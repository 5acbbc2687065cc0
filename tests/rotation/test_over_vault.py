"""The driver over Vault's upstream: changes are noticed however rarely or slowly the mount is looked at.

And whoever has the mount does not decide which root a mesh gets that has one.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from meshca.authority.history import Kind
from meshca.errors import ConfigError, Refused, Unavailable
from meshca.rotation.driver import LONGEST_SLEEP_SECONDS, Rotation
from meshca.secret import Secret
from meshca.upstream.vault.answer import Answer
from meshca.upstream.vault.client import NOBODY, Method
from meshca.upstream.vault.faults import Fault, failure
from tests.fakes.lifecycle_store import FakeLifecycles
from tests.fakes.logs import captured_logs
from tests.fakes.rotation_rig import rig as driver
from tests.fakes.vault_rig import ON_FIRST_USE, ONE, OTHER, ROOT, TWO, Rig
from tests.rotation.over_vault import driving, publish, running

pytestmark = pytest.mark.usefixtures("judged_at_once")
POLL = 2 * LONGEST_SLEEP_SECONDS


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    """Where nothing was started yet."""
    return Rig(tmp_path)


def roots(rotation: Rotation) -> set[str]:
    """Those that are kept."""
    return {record.id for record in rotation.progress.kept.of(Kind.ROOT)}


async def test_looks_are_rare(rig: Rig) -> None:
    """A root and an outage are noticed after one `poll`, though it lasts longer than a wait of the driver."""
    async with running(rig, f"{POLL:.0f}s") as rotation:
        rig.vault.issuers = [(ROOT,), (OTHER,)]
        await rig.clock.advance(POLL)
        assert roots(rotation) == {ONE, TWO}
        await rig.clock.advance(10 * POLL)
        rig.vault.error = failure(Fault.SEALED)
        await rig.clock.advance(POLL)
        assert rotation.progress.error is not None
        assert rotation.progress.error.reason == "vault_sealed"


async def test_an_administrator_asks(rig: Rig) -> None:
    """What a refused act has seen in the mount is a change for the driver all the same."""
    async with driving(rig) as driven:
        rig.vault.issuers = [(ROOT,), (OTHER,)]
        with pytest.raises(Refused, match="roots are made in Vault"):
            await driven.acts.forecast(compromised=False, window=None)
        await rig.clock.advance(30.0)
        assert roots(driven.rotation) == {ONE, TWO}


async def test_looks_are_slow(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look that ends after the wait in which it began is not lost."""
    call = rig.vault.call

    async def slowly(
        method: Method, path: str, body: Mapping[str, object] | None = None, *, token: Secret[str] = NOBODY
    ) -> Answer:
        await rig.clock.sleep(LONGEST_SLEEP_SECONDS)
        return await call(method, path, body, token=token)

    async with running(rig, "30s") as rotation:
        monkeypatch.setattr(rig.vault, "call", slowly)
        rig.vault.issuers = [(ROOT,), (OTHER,)]
        await rig.clock.advance(30 * LONGEST_SLEEP_SECONDS)
        assert roots(rotation) == {ONE, TWO}


@pytest.mark.parametrize("leading", [True, False])
async def test_a_first_use_joins_no_mesh(rig: Rig, tmp_path: Path, *, leading: bool) -> None:
    """A new replica that meets another root than the mesh has adds none, signs nothing, and says what to do."""
    store, elsewhere = FakeLifecycles(), Rig(tmp_path / "new replica")
    elsewhere.vault.issuers = [(OTHER,)]
    first = driver(rig.open(ON_FIRST_USE), rig.clock, publish, plugged_in=True, store=store).rotation
    await first.start()
    second = driver(
        elsewhere.open(ON_FIRST_USE), rig.clock, publish, plugged_in=True, store=store, leading=leading
    )
    with captured_logs() as logs, pytest.raises(ConfigError, match="does not sign below the root"):
        await second.rotation.start()
    assert [record.id for record in store.lifecycle.of(Kind.ROOT)] == [ONE]
    [told] = [entry["detail"] for entry in logs if entry["event"] == "root.refused"]
    assert told == (
        f"upstream.roots: {TWO}: this mesh has roots already, and first_use is for the first only;"
        " pin this one if it is yours"
    )


async def test_a_first_use_meets_a_stranger(rig: Rig, tmp_path: Path) -> None:
    """A new replica of a mesh that has a root takes up no other: it signs nothing, writes nothing, and heals."""
    store, elsewhere = FakeLifecycles(), Rig(tmp_path / "new replica")

    async def mesh_roots() -> list[str]:
        return [record.id for record in (await store.load()).trusted]

    await driver(rig.open(ON_FIRST_USE), rig.clock, publish, plugged_in=True, store=store).rotation.start()
    elsewhere.vault.issuers = [(OTHER,)]
    over = elsewhere.open(ON_FIRST_USE, mesh_roots=mesh_roots)
    for _ in range(2):
        with pytest.raises(Unavailable, match=f"vault_root_unpinned.*{TWO}"):
            await over.lines()
    assert (elsewhere.vault.signed, list(elsewhere.folder.rglob("*.*"))) == (0, [])
    elsewhere.vault.issuers = [(ROOT,)]
    second = driver(over, rig.clock, publish, plugged_in=True, store=store, replica="second").rotation
    await second.start()
    assert elsewhere.vault.signed == 1


async def test_a_first_use_of_the_same_root(rig: Rig, tmp_path: Path) -> None:
    """A new replica that meets the root that the mesh has signs below it."""
    store, elsewhere = FakeLifecycles(), Rig(tmp_path / "new replica")
    for place in (rig, elsewhere):
        over = place.open(ON_FIRST_USE)
        await driver(
            over, rig.clock, publish, plugged_in=True, store=store, replica=place.folder.name
        ).rotation.start()
    assert [record.id for record in store.lifecycle.of(Kind.ROOT)] == [ONE]
    assert elsewhere.vault.signed == 1

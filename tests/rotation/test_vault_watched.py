"""The driver over Vault's upstream: a change is noticed however rarely, or slowly, the mount is looked at."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from meshca.authority.history import Kind
from meshca.rotation.driver import LONGEST_SLEEP_SECONDS, Rotation
from meshca.rotation.standing import Standing
from meshca.secret import Secret
from meshca.upstream.vault.answer import Answer
from meshca.upstream.vault.client import NOBODY, Method
from meshca.upstream.vault.faults import Fault, failure
from tests.fakes.rotation_rig import rig as driver
from tests.fakes.vault_rig import ONE, OTHER, ROOT, TWO, Rig

POLL = 2 * LONGEST_SLEEP_SECONDS


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    """Where nothing was started yet."""
    return Rig(tmp_path)


async def _publish(_: Standing) -> None:
    """Nobody is there."""


@contextlib.asynccontextmanager
async def running(rig: Rig, poll: str) -> AsyncIterator[Rotation]:
    """A driver that runs over the upstream."""
    rotation = driver(rig.open(poll=poll), rig.clock, _publish, plugged_in=True).rotation
    await rotation.start()
    task = asyncio.create_task(rotation.run())
    try:
        yield rotation
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


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

"""What is seen in the mount, and how often it is looked at, well or failing."""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from meshca.authority.outside import name_and_key
from meshca.errors import ConfigError, Unavailable
from meshca.upstream.vault.faults import Fault, Throttled, failure
from meshca.upstream.vault.lookout import Lookout
from meshca.upstream.vault.patience import OUTAGE, REFUSAL
from meshca.upstream.vault.sight import Sight, judged
from tests.fakes.pki import DAY, NOW, make_ca
from tests.fakes.vault import SEEN
from tests.fakes.vault_rig import ONE, OTHER, ROOT, TWO, Rig

POLL = 30.0
SEALED, FORBIDDEN = failure(Fault.SEALED), failure(Fault.FORBIDDEN)


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    """Where nothing was started yet."""
    return Rig(tmp_path)


class TestLook:
    """One look."""

    async def test_seen(self, rig: Rig) -> None:
        """What there is, when it was seen, and the root above the issuer."""
        lookout = rig.lookout()
        assert (lookout.sight, lookout.reached_at, lookout.current) == (None, None, "")
        sight = await lookout.look()
        assert (lookout.sight, lookout.reached_at, lookout.current) == (sight, NOW, ONE)

    async def test_stays(self, rig: Rig) -> None:
        """While the mount cannot be seen what was seen stays."""
        lookout = rig.lookout()
        sight = await lookout.look()
        rig.vault.error, rig.vault.issuers = SEALED, [(OTHER,)]
        rig.clock.move(POLL)
        with pytest.raises(Unavailable, match="vault_sealed"):
            await lookout.look()
        assert (lookout.sight, lookout.reached_at, lookout.current) == (sight, NOW, ONE)

    async def test_judged_beside_the_loop(self, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
        """What a mount has may take long to verify, so that is done in a thread of its own."""
        threads = []

        def watched(*args: Any, **kwargs: Any) -> Sight:
            threads.append(threading.current_thread())
            return judged(*args, **kwargs)

        monkeypatch.setattr("meshca.upstream.vault.lookout.judged", watched)
        await rig.lookout().look()
        assert len(threads) == 1
        assert threads[0] is not threading.main_thread()


class TestFit:
    """What may be signed by."""

    async def test_not_seen_yet(self, rig: Rig) -> None:
        """Then it is looked at."""
        assert (await rig.lookout().fit()).look.current.certificate == ROOT.certificate

    async def test_seen(self, rig: Rig) -> None:
        """What was seen last, without another look."""
        lookout = rig.lookout()
        sight = await lookout.look()
        assert (await lookout.fit(), rig.vault.times(SEEN)) == (sight, 1)

    async def test_failing(self, rig: Rig) -> None:
        """Nothing while the last look has failed, however long ago; then what is seen after it."""
        lookout = rig.lookout()
        await lookout.look()
        rig.vault.error = SEALED
        with pytest.raises(Unavailable):
            await lookout.look()
        rig.clock.move(POLL)
        with pytest.raises(Unavailable, match="vault_sealed"):
            await lookout.fit()
        rig.vault.error = None
        assert await lookout.look() == await lookout.fit()


class TestIssuer:
    """Who signs leaves."""

    async def test_by_name_and_key(self, rig: Rig) -> None:
        """Whoever has both, as an issuer that was issued anew, also once the old one is deleted."""
        brief = make_ca("upper", ROOT, end=NOW + 10 * DAY)
        signer, again = name_and_key(brief.certificate), make_ca("upper", ROOT, key=brief.key)
        lookout = rig.lookout()
        for issuers, expected in (([brief], brief), ([brief, again], again), ([again], again)):
            rig.vault.issuers = [(one, ROOT) for one in issuers]
            await lookout.look()
            found = lookout.issuer(signer)
            assert found is not None
            assert found.certificate == expected.certificate
        assert lookout.issuer(name_and_key(make_ca("upper", ROOT).certificate)) is None

    async def test_not_seen_yet(self, rig: Rig) -> None:
        """Until the mount was seen why it was not is told."""
        lookout = rig.lookout()
        with pytest.raises(Unavailable, match="it was not looked at yet"):
            lookout.issuer("")
        rig.vault.error = SEALED
        with pytest.raises(Unavailable):
            await lookout.look()
        with pytest.raises(Unavailable, match="vault_sealed"):
            lookout.issuer("")


@contextlib.asynccontextmanager
async def changing(lookout: Lookout, until: float = math.inf) -> AsyncIterator[asyncio.Task[None]]:
    """Somebody waits for a change."""
    task = asyncio.create_task(lookout.changed(until))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def passes(rig: Rig, task: asyncio.Task[None], seconds: float) -> bool:
    """Let time pass; whether a change was told by then."""
    await rig.clock.advance(seconds)
    while not rig.clock.sleepers and not task.done():  # noqa: ASYNC110 - it is judged in a thread
        await asyncio.sleep(0)
    return task.done()


class TestChanged:
    """What is told without being asked."""

    async def test_nothing(self, rig: Rig) -> None:
        """As long as nothing changes nothing is told, and looking costs no login."""
        lookout = rig.lookout()
        await lookout.look()
        async with changing(lookout) as task:
            assert [await passes(rig, task, POLL) for _ in range(3)] == [False] * 3
        assert rig.vault.times(SEEN) == 4
        assert [path for path in rig.vault.calls if not path.startswith("pki/issuer")] == []

    async def test_another_issuer(self, rig: Rig) -> None:
        """Another issuer is told at the next look, and so is another default."""
        lookout = rig.lookout()
        await lookout.look()
        rig.vault.issuers = [(ROOT,), (OTHER,)]
        async with changing(lookout) as task:
            assert await passes(rig, task, POLL)
        await lookout.look()
        rig.vault.default = 1
        async with changing(lookout) as task:
            assert await passes(rig, task, POLL)
        assert (await lookout.look(), lookout.current) == (lookout.sight, TWO)

    async def test_outage(self, rig: Rig) -> None:
        """An outage is told once, at the next look; its end within three seconds."""
        lookout = rig.lookout(jitter=1.0)
        await lookout.look()
        rig.vault.error = SEALED
        async with changing(lookout) as task:
            assert await passes(rig, task, POLL)
        with pytest.raises(Unavailable):
            await lookout.look()
        async with changing(lookout) as task:
            assert not await passes(rig, task, 10 * POLL)
            rig.vault.error = None
            assert await passes(rig, task, OUTAGE.ceiling)

    async def test_file_of_roots(self, rig: Rig, tmp_path: Path) -> None:
        """A file of roots that cannot be used is told, and looked at again with each look at the mount."""
        path = tmp_path / "roots.pem"
        path.write_text(ROOT.pem)
        lookout = rig.lookout(rig.config({"file": str(path)}))
        await lookout.look()
        path.write_text("damaged")
        async with changing(lookout) as task:
            assert await passes(rig, task, POLL)
        with pytest.raises(ConfigError):
            await lookout.look()
        async with changing(lookout) as task:
            assert not await passes(rig, task, POLL)
            path.write_text(ROOT.pem)
            assert await passes(rig, task, POLL)

    async def test_until(self, rig: Rig) -> None:
        """Whoever waits for a moment is told then, without a look."""
        lookout = rig.lookout()
        await lookout.look()
        async with changing(lookout, rig.clock.monotonic() + POLL - 1) as task:
            assert not await passes(rig, task, POLL - 2)
            assert await passes(rig, task, 1)
        async with changing(lookout, rig.clock.monotonic()) as task:
            assert await passes(rig, task, 0)
        assert rig.vault.times(SEEN) == 1


class TestFailing:
    """What failed is left alone for a while, whoever wants to see it."""

    @pytest.mark.parametrize(
        ("error", "pauses"),
        [
            (SEALED, [1.0, 2.0, *[OUTAGE.ceiling] * 4]),
            (FORBIDDEN, [2.0, 4.0, 8.0, 16.0, 32.0, *[REFUSAL.ceiling] * 2]),
            (Throttled(failure(Fault.RATE_LIMITED), 200.0), [200.0] * 3),
        ],
        ids=["outage", "refusal", "quota"],
    )
    async def test_pauses(self, rig: Rig, error: Unavailable, pauses: list[float]) -> None:
        """An outage is seen every three seconds, a refusal ever more rarely, a quota when the server says."""
        lookout = rig.lookout(jitter=1.0)
        rig.vault.error = error
        for number, pause in enumerate(pauses, 1):
            for _ in range(2):
                with pytest.raises(Unavailable, match=error.reason):
                    await lookout.look()
            assert rig.vault.times(SEEN) == number
            rig.clock.move(pause)

    async def test_success(self, rig: Rig) -> None:
        """After a look that saw it, whoever wants to may look at once."""
        lookout = rig.lookout()
        rig.vault.error = SEALED
        with pytest.raises(Unavailable):
            await lookout.look()
        rig.clock.move(OUTAGE.ceiling)
        rig.vault.error = None
        assert await lookout.look() == await lookout.look()

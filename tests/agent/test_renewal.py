"""Renewal over time, on a fake clock: at half life, after failures, and when a proof is refused."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshca.agent.svid import Svid
from tests.agent.renewal_scene import Scene
from tests.fakes.ca import Mood
from tests.fakes.logs import captured_logs

HOUR = 3600.0


async def test_the_first_certificate_is_fetched_at_once() -> None:
    """An Envoy is waiting."""
    async with Scene().running() as scene:
        assert len(scene.shelf.taken) == 1


@pytest.mark.parametrize("seed", range(4))
async def test_renewal_comes_at_half_life_with_jitter(seed: int) -> None:
    """Between 45 and 55 per cent of a day: half life plus or minus a tenth."""
    scene = Scene(seed)
    scene.ca.lifetime = timedelta(minutes=10)
    async with scene.running():
        await scene.pass_time(0.45 * 600 - 1)
        assert len(scene.shelf.taken) == 1
        await scene.pass_time(0.10 * 600 + 3)
        assert len(scene.shelf.taken) == 2


async def test_agents_that_began_together_renew_apart() -> None:
    """The jitter differs from agent to agent."""
    moments = set()
    for seed in range(8):
        scene = Scene(seed)
        scene.ca.lifetime = timedelta(minutes=10)
        async with scene.running():
            while len(scene.shelf.taken) < 2:
                await scene.pass_time(1)
            moments.add(round(scene.clock.monotonic()))
    assert len(moments) >= 5


async def test_the_identity_is_pinned_by_the_first_certificate() -> None:
    """A CA that turns us into somebody else is refused."""
    scene = Scene()
    scene.ca.lifetime = timedelta(minutes=2)
    async with scene.running():
        scene.ca.mood = scene.ca.certificate_mood = Mood.OTHER_IDENTITY
        await scene.pass_time(90)
        assert len(scene.shelf.taken) == 1
        assert scene.shelf.errors[0] == "wrong_identity"


async def test_the_old_certificate_stays_until_the_new_one_is_in_hand() -> None:
    """Through any number of failures."""
    scene = Scene()
    scene.ca.lifetime = timedelta(minutes=10)
    async with scene.running():
        first = scene.shelf.svid
        scene.ca.mood = scene.ca.certificate_mood = Mood.DOWN
        await scene.pass_time(500)
        assert scene.shelf.svid is first
        assert len(scene.shelf.errors) > 3
        scene.ca.mood = scene.ca.certificate_mood = Mood.ISSUE
        await scene.pass_time(61)
        assert len(scene.shelf.taken) == 2


async def test_pauses_grow_while_the_ca_refuses() -> None:
    """Full jitter under a bound that doubles to a minute."""
    scene = Scene()
    scene.ca.mood = Mood.REFUSE
    async with scene.running():
        with captured_logs() as logs:
            await scene.pass_time(600)
    pauses = [entry["next_try_in_s"] for entry in logs if entry["event"] == "certificate.renewal_failed"]
    assert min(pauses) >= 1.0
    assert 30 < max(pauses) <= 60.0
    assert len(pauses) < 60


async def test_the_log_says_how_long_the_old_certificate_lasts() -> None:
    """So that somebody can tell how urgent it is."""
    scene = Scene()
    scene.ca.lifetime = timedelta(minutes=10)
    async with scene.running():
        scene.ca.mood = scene.ca.certificate_mood = Mood.DOWN
        with captured_logs() as logs:
            await scene.pass_time(340)
    entry = next(entry for entry in logs if entry["event"] == "certificate.renewal_failed")
    assert 200 < entry["certificate_left_s"] < 340
    assert entry["reason"] == "test"


async def test_a_retry_hint_is_honoured() -> None:
    """A busy CA says when to come back: 7 s here."""
    scene = Scene()
    scene.ca.mood = Mood.BUSY
    async with scene.running():
        await scene.pass_time(6.5)
        assert len(scene.ca.asked) == 1
        await scene.pass_time(1)
        assert len(scene.ca.asked) == 2


@pytest.mark.parametrize("mood", [Mood.EXPIRED, Mood.FUTURE])
async def test_a_skewed_clock_makes_no_tight_loop(mood: Mood) -> None:
    """Answers that seem expired, or not yet valid, are tried again with pauses."""
    scene = Scene()
    async with scene.running():
        scene.ca.mood = scene.ca.certificate_mood = mood
        scene.clock.move(30 * HOUR)
        await scene.pass_time(0)
        before = len(scene.ca.asked)
        await scene.pass_time(120)
        assert 1 <= len(scene.ca.asked) - before < 30


async def test_very_short_lives_make_no_tight_loop() -> None:
    """Even a CA whose certificates live for a tenth of a second is asked at most once a second."""
    scene = Scene()
    scene.ca.lifetime = timedelta(seconds=1)
    async with scene.running():
        await scene.pass_time(60)
        assert len(scene.ca.asked) <= 61


async def test_a_jump_of_the_clock_is_noticed() -> None:
    """A machine that slept renews soon after it wakes."""
    async with Scene().running() as scene:
        scene.clock._now += timedelta(hours=20)  # wall time only; steady time did not move
        await scene.pass_time(31)
        assert len(scene.shelf.taken) == 2


async def test_a_certificate_that_is_not_valid_now_is_renewed() -> None:
    """Though its half life is far: it came while the clock was wrong, and the clock is set back."""
    async with Scene().running() as scene:
        scene.clock._now -= timedelta(hours=1)  # wall time only; steady time did not move
        await scene.pass_time(31)
        assert len(scene.shelf.taken) == 2
        assert scene.ca.asked == ["token", "token"]  # what is not valid proves nothing
        assert scene.shelf.taken[1].valid(scene.clock.now())


async def test_a_useless_certificate_is_renewed_soon_but_not_by_all_at_once() -> None:
    """After a change of roots under it."""
    moments = set()
    for seed in range(5):
        async with Scene(seed).running() as scene:
            await scene.pass_time(100)
            scene.renewal.hurry()
            while len(scene.shelf.taken) < 2:
                await scene.pass_time(0.5)
            moments.add(scene.clock.monotonic())
            assert scene.clock.monotonic() <= 110
    assert len(moments) >= 3


async def test_a_refused_proof_is_renewed_by_the_token() -> None:
    """Soon, and though the CA would still take the certificate for another one; later renewals show it again."""
    async with Scene().running() as scene:
        await scene.pass_time(100)
        scene.renewal.prove_anew()
        await scene.pass_time(10)
        assert scene.ca.asked == ["token", "token"]
        assert len(scene.shelf.taken) == 2
        scene.renewal.hurry()
        await scene.pass_time(10)
        assert scene.ca.asked == ["token", "token", "certificate"]


async def test_a_refused_proof_is_no_dead_end() -> None:
    """While the token is bad it is tried with pauses; past half life the certificate is tried before it."""
    scene = Scene()
    scene.ca.lifetime = timedelta(minutes=10)
    async with scene.running():
        scene.ca.mood = Mood.REFUSE
        scene.renewal.prove_anew()
        await scene.pass_time(300)
        assert set(scene.ca.asked) == {"token"}
        assert len(scene.shelf.errors) > 3
        await scene.pass_time(95)
        assert "certificate" in scene.ca.asked
        assert len(scene.shelf.taken) == 2


async def test_a_proof_refused_during_a_renewal_is_renewed_after_it() -> None:
    """What that renewal brings descends from the refused proof."""
    scene = Scene()

    class RefusingMeanwhile:
        """Asks the CA while another stream is refused."""

        by_token = scene.ca.by_token

        async def by_certificate(self, csr: str, svid: Svid) -> Sequence[str]:
            """As `Ca.by_certificate`."""
            scene.renewal.prove_anew()
            return await scene.ca.by_certificate(csr, svid)

    scene.renewal._issuer = replace(scene.issuer, ca=RefusingMeanwhile())
    async with scene.running():
        await scene.pass_time(100)
        scene.renewal.hurry()
        await scene.pass_time(30)
        assert scene.ca.asked == ["token", "certificate", "token"]


async def test_there_is_one_request_at_a_time() -> None:
    """A CA that hangs is not asked again meanwhile; the client's deadline ends the call."""
    scene = Scene()
    scene.ca.mood = Mood.HANG
    task = asyncio.create_task(scene.renewal.run())
    await scene.ca.hung.wait()
    scene.renewal.hurry()
    await scene.clock.advance(600)
    assert len(scene.ca.asked) == 1
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


@settings(max_examples=15, deadline=None)
@given(
    moods=st.lists(st.sampled_from([m for m in Mood if m is not Mood.HANG]), min_size=1, max_size=6),
    seed=st.integers(0, 99),
)
async def test_whatever_the_ca_does_the_agent_recovers(moods: list[Mood], seed: int) -> None:
    """Within a minute and a bit of its getting well, and without hammering before."""
    scene = Scene(seed)
    scene.ca.lifetime = timedelta(minutes=5)
    async with scene.running():
        for mood in moods:
            scene.ca.mood = scene.ca.certificate_mood = mood
            before = len(scene.ca.asked)
            await scene.pass_time(20)
            assert len(scene.ca.asked) - before <= 42  # two ways, at most once a second
        scene.ca.mood = scene.ca.certificate_mood = Mood.ISSUE
        await scene.pass_time(400)
        assert scene.shelf.svid is not None
        assert scene.shelf.svid.valid(scene.clock.now())

"""Renewal over time, on a fake clock."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshca.agent.chain import fingerprint
from meshca.agent.envoys import InForce, Undecided, Verdict
from meshca.agent.order import Orders
from meshca.agent.renewal import Renewal
from meshca.agent.svid import Expected, Svid
from meshca.backoff import Pace
from meshca.discovery.order import RenewalOrder
from meshca.errors import MeshcaError
from tests.agent.test_issuer import NOW, World
from tests.fakes.ca import Mood, Pair, authority
from tests.fakes.logs import captured_logs

HOUR = 3600.0


class Shelf:
    """Keeps what it is given, as `Holding` does."""

    def __init__(self) -> None:
        self.taken: list[Svid] = []
        self.errors: list[str] = []

    @property
    def svid(self) -> Svid | None:
        """The newest."""
        return self.taken[-1] if self.taken else None

    def take_svid(self, svid: Svid) -> None:
        """Keep."""
        self.taken.append(svid)

    def renewal_failed(self, error: MeshcaError) -> None:
        """Keep."""
        self.errors.append(error.reason)


class Scene(World):
    """A CA, a shelf and a running renewal."""

    def __init__(self, seed: int = 1) -> None:
        super().__init__()
        self.shelf = Shelf()
        pace = Pace(clock=self.clock, rng=random.Random(seed))
        self.roots: Verdict = InForce(grade="envoy")
        self.orders = Orders(pace, lambda: self.roots)
        self.renewal = Renewal(self.issuer, self.shelf, Expected(), pace, self.orders)
        self.tries: list[float] = []

    def order(self, window: float, *, begun_at: datetime | None = None) -> None:
        """The CA turns to another signer and orders what the old one signed replaced."""
        old = certificate_id(self.ca.signer)
        self.sign_anew()
        self.say(old, window, begun_at=begun_at)

    def sign_anew(self) -> None:
        """Another signer below the same root."""
        begin, end = NOW - timedelta(days=1), NOW + timedelta(days=365)
        self.ca.signer = authority("signer anew", begin, end, self.ca.root)

    def say(self, signer: str, window: float, *, begun_at: datetime | None = None) -> None:
        """An order is pushed."""
        self.orders.take(
            RenewalOrder(
                signers=frozenset({signer}),
                begun_at=begun_at or self.clock.now(),
                window=timedelta(seconds=window),
            )
        )
        self.renewal.look()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Scene]:
        """Let the loop run."""
        task = asyncio.create_task(self.renewal.run())
        await self.pass_time(0)
        try:
            yield self
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def pass_time(self, seconds: float) -> None:
        """Move the clock."""
        end = self.clock.monotonic() + seconds
        while True:
            await self._quiet()
            if self.clock.monotonic() >= end:
                return
            await self.clock.advance(min(1.0, end - self.clock.monotonic()))

    async def _quiet(self) -> None:
        """Until the loop sleeps on the clock again, or hangs in the CA."""
        for _ in range(2000):
            asked = len(self.ca.asked)
            await self.clock.advance(0)
            if self.clock.sleepers and asked == len(self.ca.asked):
                return
            await asyncio.sleep(0.001)
        raise AssertionError("the renewal neither sleeps nor asks")


async def test_the_first_certificate_is_fetched_at_once() -> None:
    """An Envoy is waiting."""
    async with Scene().running() as scene:
        assert len(scene.shelf.taken) == 1


def certificate_id(pair: Pair) -> str:
    """What an order calls a signer."""
    return fingerprint(pair.certificate)


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


async def test_an_order_is_obeyed_within_its_window() -> None:
    """Each agent at a moment of its own, by the certificate, once."""
    moments = set()
    for seed in range(6):
        async with Scene(seed).running() as scene:
            await scene.pass_time(10)
            scene.order(300)
            while len(scene.shelf.taken) < 2:
                await scene.pass_time(1)
            moments.add(round(scene.clock.monotonic()))
            await scene.pass_time(60)
            assert scene.ca.asked == ["token", "certificate"]
    assert all(10 <= moment <= 311 for moment in moments)
    assert len(moments) >= 5


async def test_an_order_without_a_window_is_obeyed_at_once() -> None:
    """No jitter: whoever chose that wants it now."""
    async with Scene().running() as scene:
        await scene.pass_time(100)
        scene.order(0)
        await scene.pass_time(0)
        assert len(scene.shelf.taken) == 2
        assert scene.clock.monotonic() == 100


async def test_an_order_whose_window_is_over_is_obeyed_at_once() -> None:
    """As by an agent that was away."""
    async with Scene().running() as scene:
        await scene.pass_time(100)
        scene.order(300, begun_at=NOW - timedelta(hours=1))
        await scene.pass_time(0)
        assert len(scene.shelf.taken) == 2


async def test_an_order_for_other_signers_is_not_obeyed() -> None:
    """The certificate is not below them; half life comes as ever."""
    async with Scene().running() as scene:
        await scene.pass_time(100)
        scene.say("ab" * 32, 0)
        await scene.pass_time(600)
        assert len(scene.shelf.taken) == 1


async def test_an_order_waits_for_the_envoys_answer_to_the_roots() -> None:
    """What the new certificate leads to must be in force first; the answer itself is what is waited for."""
    async with Scene().running() as scene:
        await scene.pass_time(100)
        scene.roots = Undecided()
        scene.order(0)
        await scene.pass_time(5)
        assert scene.ca.asked == ["token"]
        scene.roots = InForce(grade="envoy")
        scene.renewal.look()
        await scene.pass_time(0)
        assert len(scene.shelf.taken) == 2


async def test_a_new_certificate_waits_for_the_envoys_answer_to_newer_roots() -> None:
    """Roots that came while the CA was asked; but for no longer than half a minute."""
    async with Scene().running() as scene:
        await scene.pass_time(100)
        scene.order(0)
        before: list[Verdict] = [InForce(grade="envoy")]
        scene.orders._roots = lambda: before.pop() if before else Undecided()
        await scene.pass_time(29)
        assert (len(scene.ca.asked), len(scene.shelf.taken)) == (2, 1)
        await scene.pass_time(2)
        assert len(scene.shelf.taken) == 2


async def test_the_first_certificate_waits_for_nobody() -> None:
    """An Envoy that holds nothing good is better off with it at once."""
    scene = Scene()
    scene.roots = Undecided()
    async with scene.running():
        assert len(scene.shelf.taken) == 1


async def test_a_busy_ca_is_asked_again_within_the_window() -> None:
    """After its hint: 7 s here. The old certificate is still good meanwhile."""
    async with Scene().running() as scene:
        await scene.pass_time(100)
        scene.ca.certificate_mood = Mood.BUSY
        scene.order(60, begun_at=NOW)
        await scene.pass_time(6.5)
        assert len(scene.ca.asked) == 2
        scene.ca.certificate_mood = Mood.ISSUE
        await scene.pass_time(1)
        assert (len(scene.ca.asked), len(scene.shelf.taken)) == (3, 2)


async def test_a_certificate_below_the_ordered_signer_again_makes_no_tight_loop() -> None:
    """As from a worker that heard of the order before the new signer; the pauses grow."""
    async with Scene().running() as scene:
        await scene.pass_time(100)
        with captured_logs() as logs:
            scene.say(certificate_id(scene.ca.signer), 0)
            await scene.pass_time(300)
        assert 5 <= len(scene.shelf.taken) <= 30
        assert "order.still_concerned" in [entry["event"] for entry in logs]
        scene.sign_anew()
        await scene.pass_time(62)
        taken = len(scene.shelf.taken)
        await scene.pass_time(300)
        assert len(scene.shelf.taken) == taken


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

"""Renewal by order: within its window, once, and not before the Envoys have what the new certificate leads to."""

from __future__ import annotations

from datetime import timedelta

from meshca.agent.envoys import InForce, Undecided, Verdict
from tests.agent.renewal_scene import Scene, certificate_id
from tests.agent.test_issuer import NOW
from tests.fakes.ca import Mood
from tests.fakes.logs import captured_logs


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

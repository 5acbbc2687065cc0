"""The whole agent while the CA turns to another root: at its start, and by order."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from meshca.agent.chain import fingerprint
from meshca.clock import SystemClock
from meshca.config.resource_names import ORDER, ROOTCA, SECRET_TYPE_URL
from meshca.discovery.order import RenewalOrder
from tests.agent.process_answers import adopted, roots_of
from tests.fakes.agent_machine import Machine
from tests.fakes.agent_values import bundle_of, new_root
from tests.fakes.logs import captured_logs
from tests.fakes.xds_client import SDS


async def change_root(machine: Machine) -> str:
    """The next root signs, and the ports show the old line: as after the activation; gives the whole bundle."""
    old, now = machine.ca.root, SystemClock().now()
    machine.ca.sign_below(new_root("next", now))
    both = bundle_of(old, machine.ca.root, now=now).pem
    await machine.serving.stop()
    machine.serving.client_roots = both
    await machine.serving.start()
    return both


@pytest.mark.parametrize("pin", ["file", "fingerprint"])
@pytest.mark.parametrize("learnt", [False, True], ids=["new machine", "what was learnt"])
async def test_an_agent_that_starts_in_the_middle_of_a_change_finds_its_way(
    machine: Machine,
    pin: str,
    learnt: bool,  # noqa: FBT001 - a row
) -> None:
    """By the old root, though what it gets is below the new one: a certificate, a stream, and both roots."""
    flags = () if pin == "file" else ("--fingerprint", fingerprint(machine.ca.root.certificate))
    if learnt:
        machine.plane.push_roots(machine.ca.root.pem)
        async with machine.agent(machine.options(pin=flags)):
            await machine.plane.heard(partial(adopted, name=ROOTCA))
    both, since = await change_root(machine), len(machine.plane.notices)
    machine.plane.push_roots(both)
    async with machine.agent(machine.options(pin=flags)) as agent:
        await machine.plane.heard(partial(adopted, name=ROOTCA), since=since)
        assert agent.holding.svid is not None
        assert fingerprint(machine.ca.root.certificate) in agent.holding.svid.signers
        assert roots_of(await machine.secret(ROOTCA)) == both


async def test_an_agent_that_starts_after_a_change_names_the_new_root(machine: Machine) -> None:
    """Every line of its log that says so names what to compare; nothing is sent to that CA."""
    old = (machine.folder / "root.pem").read_text()
    await change_root(machine)
    machine.ca.line = None
    await machine.serving.stop()
    await machine.serving.start()
    with captured_logs() as logs:
        async with machine.agent(machine.options()):
            while not [entry for entry in logs if entry["event"] == "certificate.renewal_failed"]:  # noqa: ASYNC110 - logs
                await asyncio.sleep(0.01)
    told = next(entry for entry in logs if entry["event"] == "certificate.renewal_failed")
    assert told["reason"] == "ca_untrusted"
    assert fingerprint(machine.ca.root.certificate) in told["detail"]
    assert (machine.folder / "root.pem").read_text() == old
    assert machine.ca.asked == []


async def test_an_order_is_obeyed_once_the_envoy_has_the_roots(machine: Machine) -> None:
    """It asks for no new certificate while its Envoy has not answered to the bundle that has both roots."""
    machine.plane.push_roots(machine.ca.root.pem)
    old = fingerprint(machine.ca.signer.certificate)
    now = SystemClock().now()
    following = new_root("next", now)
    both = machine.serving.client_roots = bundle_of(machine.ca.root, following, now=now).pem
    await machine.serving.stop()
    await machine.serving.start()
    async with (
        machine.agent(machine.options()) as agent,
        machine.envoy(SDS + "StreamSecrets", SECRET_TYPE_URL) as roots,
    ):
        await roots.ask(ROOTCA)
        await roots.answer()
        await roots.ack()
        await machine.plane.heard(partial(adopted, name=ROOTCA))
        machine.plane.push_roots(both)
        await roots.answer()
        machine.ca.sign_below(following)
        machine.plane.push_order(RenewalOrder(signers=frozenset({old}), begun_at=SystemClock().now()))
        await machine.plane.heard(partial(adopted, name=ORDER))
        assert machine.ca.asked == ["token"]
        await roots.ack()
        await machine.ca.answered(2)
        async with asyncio.timeout(10):
            while agent.holding.svid is None or old in agent.holding.svid.signers:  # noqa: ASYNC110 - a state
                await asyncio.sleep(0.01)
    assert machine.ca.asked == ["token", "certificate"]


async def test_an_ordered_renewal_needs_no_handshake(machine: Machine) -> None:
    """It goes over the connection of the stream that brought the order."""
    order = RenewalOrder(
        signers=frozenset({fingerprint(machine.ca.signer.certificate)}), begun_at=SystemClock().now()
    )
    async with machine.agent(machine.options()):
        await machine.ca.answered(1)
        machine.plane.push_order(order)
        await machine.ca.answered(2)
        assert machine.ca.asked == ["token", "certificate"]
        assert machine.serving.handshakes == ["token", "certificate"]

"""The whole agent where something around it is wrong: waited for, left out, or the end of its start."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from meshca.config.resource_names import AUTHZ, DEFAULT, ROOTCA, SECRET_TYPE_URL
from meshca.errors import ConfigError, Unavailable
from tests.agent.process_answers import adopted
from tests.fakes.agent_machine import Machine
from tests.fakes.agent_values import policy_body
from tests.fakes.ca import Mood
from tests.fakes.logs import captured_logs
from tests.fakes.xds_client import SDS


async def test_a_ca_that_takes_us_for_somebody_else_is_refused(machine: Machine) -> None:
    """Our own token says who we are."""
    machine.ca.mood = Mood.OTHER_IDENTITY
    async with machine.agent(machine.options()) as agent:
        await machine.ca.answered(1)
        async with asyncio.timeout(10):
            while "wrong_identity" not in str(agent.state()["reason"]):  # noqa: ASYNC110 - no event for it
                await asyncio.sleep(0.01)


async def test_without_the_second_port_there_is_no_relay(machine: Machine) -> None:
    """As with Istio's CA; the log says what is missing."""
    with captured_logs() as logs:
        async with machine.agent(machine.options(mtls=False)):
            await machine.secret(DEFAULT)
            async with machine.envoy(SDS + "StreamSecrets", SECRET_TYPE_URL) as stream:
                await stream.ask(ROOTCA)
                await stream.answer()
                await stream.ack()
    assert "relay.off" in [entry["event"] for entry in logs]
    assert "relay.connected" not in [entry["event"] for entry in logs]


async def test_a_missing_token_is_waited_for(machine: Machine) -> None:
    """The kubelet may be late."""
    (machine.folder / "token").unlink()
    with captured_logs() as logs:
        async with machine.agent(machine.options()):
            while not [entry for entry in logs if entry["event"] == "certificate.renewal_failed"]:  # noqa: ASYNC110 - logs
                await asyncio.sleep(0.01)
            (machine.folder / "token").write_text("opaque")
            await machine.secret(DEFAULT)
    assert "token.not_yet" in [entry["event"] for entry in logs]


async def test_emptied_system_roots_end_nothing(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is held is served on; renewal and stream wait for the file, and the log says so."""
    roots = machine.folder / "system.pem"
    roots.write_text(machine.ca.root.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(roots))
    async with machine.agent(machine.options(pin=("--system-roots",))) as agent:
        first = await machine.secret(DEFAULT)
        machine.plane.push_policies(policy_body("a"))
        await machine.plane.heard(partial(adopted, name=AUTHZ))
        roots.write_text("")
        with captured_logs() as logs:
            agent._renewal.prove_anew()
            machine.plane.end_streams(Unavailable("drain", "test"))
            waiting = {"certificate.renewal_failed", "relay.disconnected"}
            async with asyncio.timeout(10):
                while not waiting <= {e["event"] for e in logs if e.get("reason") == "system_roots"}:  # noqa: ASYNC110 - logs
                    await asyncio.sleep(0.01)
        assert await machine.secret(DEFAULT) == first
        assert agent.state()["ready"] is True
        roots.write_text(machine.ca.root.pem)
        async with asyncio.timeout(10):
            while await machine.secret(DEFAULT) == first:
                continue


@pytest.mark.parametrize("content", [None, "", "garbage"])
async def test_a_bad_root_file_ends_the_start(machine: Machine, content: str | None) -> None:
    """The operator can mend it now."""
    path = machine.folder / "root.pem"
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(ConfigError, match="--root"):
        async with machine.agent(machine.options()):
            pass


async def test_a_socket_folder_that_cannot_be_made_ends_the_start(machine: Machine) -> None:
    """With the flag to change."""
    options = machine.options("--socket", str(machine.folder / "token" / "s"))
    with pytest.raises(ConfigError, match="--socket"):
        async with machine.agent(options):
            pass

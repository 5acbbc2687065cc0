"""The whole agent in one process, against a fake CA over real TLS."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator, Mapping
from functools import partial
from pathlib import Path

import pytest
from cryptography import x509
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret

from meshca.agent.chain import fingerprint
from meshca.agent.output import CHAIN, KEY, ROOTS
from meshca.clock import SystemClock
from meshca.config.resource_names import AUTHZ, DEFAULT, EXTENSION_TYPE_URL, ORDER, ROOTCA, SECRET_TYPE_URL
from meshca.discovery.event import Adopted
from meshca.discovery.order import RenewalOrder
from meshca.errors import ConfigError, Unauthenticated, Unavailable
from meshca.wire.xds_streams import Notice
from tests.fakes.agent_machine import Machine, running_machine
from tests.fakes.agent_values import bundle_of, new_root, policy_body
from tests.fakes.ca import OWN, Mood
from tests.fakes.logs import captured_logs
from tests.fakes.xds_client import ECDS, SDS


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Machine]:
    """A CA that serves."""
    async with running_machine(tmp_path) as made:
        yield made


def roots_of(secret: Secret) -> str:
    """The bundle in a secret."""
    text: str = secret.validation_context.trusted_ca.inline_bytes.decode()
    return text


async def test_an_envoy_gets_certificate_and_roots(machine: Machine) -> None:
    """The first things that it asks for."""
    async with machine.agent(machine.options()) as agent:
        certificate = await machine.secret(DEFAULT)
        leaf = x509.load_pem_x509_certificate(certificate.tls_certificate.certificate_chain.inline_bytes)
        assert OWN in str(leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
        assert roots_of(await machine.secret(ROOTCA)) == machine.ca.root.pem
        assert agent.state()["ready"] is True
        assert agent.state()["spiffe_id"] == OWN


@pytest.mark.parametrize("kind", ["fingerprint", "system"])
async def test_every_pin_leads_to_a_certificate(
    machine: Machine, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file is not the only one."""
    monkeypatch.setenv("SSL_CERT_FILE", str(machine.folder / "root.pem"))
    pin = ("--system-roots",) if kind == "system" else ("--fingerprint", fingerprint(machine.ca.root.certificate))
    async with machine.agent(machine.options(pin=pin)):
        await machine.secret(DEFAULT)
        assert roots_of(await machine.secret(ROOTCA)) == machine.ca.root.pem


async def test_an_envoy_that_comes_first_waits(machine: Machine) -> None:
    """While the CA refuses it gets the roots, and the certificate as soon as there is one."""
    machine.ca.mood = Mood.REFUSE
    async with machine.agent(machine.options()) as agent:
        assert roots_of(await machine.secret(ROOTCA)) == machine.ca.root.pem
        await machine.ca.answered(1)
        assert agent.state()["ready"] is False
        machine.ca.mood = Mood.ISSUE
        await machine.secret(DEFAULT)
        assert agent.state()["ready"] is True


async def test_the_certificate_outlives_the_ca(machine: Machine) -> None:
    """A newly connecting Envoy still gets it."""
    async with machine.agent(machine.options()):
        first = await machine.secret(DEFAULT)
        await machine.serving.stop()
        assert await machine.secret(DEFAULT) == first


async def test_pushed_policies_reach_the_envoy_and_its_word_the_ca(machine: Machine) -> None:
    """The whole way down and up."""
    version = machine.plane.push_policies(policy_body("a"))
    async with (
        machine.agent(machine.options()),
        machine.envoy(ECDS + "StreamExtensionConfigs", EXTENSION_TYPE_URL) as stream,
    ):
        await stream.ask(AUTHZ)
        assert (await stream.answer())["0"] == policy_body("a")
        await stream.ack()
        notice = await machine.plane.heard(lambda notice: notice.node.report.grade == "envoy")
        assert notice.event == Adopted(versions={AUTHZ: version})


async def test_what_was_learnt_outlives_agent_and_ca(machine: Machine) -> None:
    """A restarted agent serves roots and policies while the CA is down; there is no certificate without it."""
    both = bundle_of(machine.ca.root, new_root("next", SystemClock().now()), now=SystemClock().now())
    machine.plane.push_roots(both.pem)
    machine.plane.push_policies(policy_body("a"))
    async with machine.agent(machine.options()):
        await machine.plane.heard(partial(adopted, name=ROOTCA))
        await machine.plane.heard(partial(adopted, name=AUTHZ))
    await machine.serving.stop()
    async with machine.agent(machine.options()) as agent:
        assert roots_of(await machine.secret(ROOTCA)) == both.pem
        assert await machine.policies() == policy_body("a")
        assert agent.state()["ready"] is False


async def test_a_refused_stream_comes_back_with_a_new_proof(machine: Machine) -> None:
    """The CA has lost its records, or wants a token again after a week: the token is shown within seconds."""
    machine.plane.push_policies(policy_body("a"))
    async with machine.agent(machine.options()) as agent:
        await machine.plane.heard(partial(adopted, name=AUTHZ))
        first = agent.holding.svid
        machine.plane.refusal = Unauthenticated("unknown_serial", "test")
        machine.plane.end_streams(Unavailable("drain", "test"))
        await machine.ca.answered(2)
        machine.plane.refusal, since = None, len(machine.plane.notices)
        await machine.plane.heard(partial(adopted, name=AUTHZ), since=since)
        assert machine.ca.asked == ["token", "token"]
        assert agent.holding.svid is not first


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


def adopted(notice: Notice, name: str) -> bool:
    """Whether the agent acknowledges this resource."""
    return isinstance(notice.event, Adopted) and name in notice.event.versions


async def test_nothing_secret_is_kept_on_disk(machine: Machine) -> None:
    """Neither key nor token."""
    machine.plane.push_policies(policy_body("a"))
    async with machine.agent(machine.options()):
        await machine.secret(DEFAULT)
        await machine.plane.heard(lambda notice: isinstance(notice.event, Adopted))
    kept = stored(machine.folder / "state")
    assert sorted(kept) == ["envoys.json", "instance.json", "policies.json"]
    assert not any("PRIVATE" in text or "c2ln" in text for text in kept.values())


def stored(folder: Path) -> Mapping[str, str]:
    """Files by name."""
    return {path.name: path.read_text() for path in folder.iterdir()}


async def test_certificates_are_written_where_asked(machine: Machine) -> None:
    """And the new ones after a renewal of the roots."""
    out = machine.folder / "certs"
    async with machine.agent(machine.options("--write-certs", str(out))) as agent:
        await machine.secret(DEFAULT)
        async with asyncio.timeout(10):
            while (shown := stored_set(out)) is None or agent.holding.svid is None:  # noqa: ASYNC110 - a file
                await asyncio.sleep(0.01)
    assert shown[KEY] == agent.holding.svid.private.reveal()
    assert shown[CHAIN] == agent.holding.svid.chain
    assert shown[ROOTS] == machine.ca.root.pem


def stored_set(folder: Path) -> Mapping[str, str] | None:
    """The written set, once it is there."""
    return (
        {name: (folder / name).read_text() for name in (KEY, CHAIN, ROOTS)} if (folder / ROOTS).exists() else None
    )


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


async def test_readiness_is_served(machine: Machine) -> None:
    """On its own port."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    async with machine.agent(machine.options("--readiness", f"127.0.0.1:{port}")):
        await machine.secret(DEFAULT)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /readyz HTTP/1.1\r\n\r\n")
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
    assert b" 200 " in head
    assert json.loads(body)["spiffe_id"] == OWN


async def test_the_sockets_are_gone_at_the_end(machine: Machine) -> None:
    """Nothing is left behind."""
    async with machine.agent(machine.options()):
        await machine.secret(ROOTCA)
    assert os.listdir(machine.folder / "run") == []  # noqa: PTH208 - blocking either way, and over

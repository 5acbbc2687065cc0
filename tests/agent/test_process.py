"""The whole agent in one process, against a fake CA over real TLS."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pytest
from cryptography import x509

from meshca.agent.chain import fingerprint
from meshca.agent.output import CHAIN, KEY, ROOTS
from meshca.clock import SystemClock
from meshca.config.resource_names import AUTHZ, DEFAULT, EXTENSION_TYPE_URL, ROOTCA
from meshca.discovery.event import Adopted
from meshca.errors import Unauthenticated, Unavailable
from tests.agent.process_answers import adopted, roots_of
from tests.fakes.agent_machine import Machine
from tests.fakes.agent_values import bundle_of, new_root, policy_body
from tests.fakes.ca import OWN, Mood
from tests.fakes.xds_client import ECDS


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

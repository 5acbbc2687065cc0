"""The demo's mesh: a CA, and three workloads, each with an agent and a real Envoy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from meshca.app.demo import application, parts
from meshca.app.demo.application import Application
from meshca.app.demo.child import Child
from meshca.app.demo.parts import Ca, Sidecar, Start
from meshca.app.demo.topology import CHARGES, INTRUDER, PAYMENTS, WEB, WORKLOADS, policy, spiffe_id
from meshca.errors import InvariantBroken
from meshca.identity.service_account import ServiceAccount

AGENT_SECONDS = 30.0  # an idle machine needs about one
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mesh:
    """The mesh when everything runs.

    Attributes:
        application: what payments' Envoy guards.
        payments_port: mTLS port of payments' Envoy.
        web_port: loopback port on which web's Envoy takes calls for payments.
        intruder_port: the same of the intruder's Envoy.
    """

    start: Start
    ca: Ca
    application: Application
    payments: Sidecar
    web: Sidecar
    intruder: Sidecar
    payments_port: int
    web_port: int
    intruder_port: int

    @property
    def sidecars(self) -> tuple[Sidecar, ...]:
        """The three."""
        return (self.payments, self.web, self.intruder)

    async def serials(self) -> frozenset[str]:
        """The serial numbers of all certificates that the Envoys present now."""
        return frozenset([held.serial for sidecar in self.sidecars for held in await sidecar.held()])


async def build(start: Start, binary: Path) -> Mesh:
    """Start everything and show it.

    Raises:
        Unavailable: reason `demo_step`, naming the step that failed.
    """
    ca = await start_ca(start)
    await start_agents(start, ca)
    with start.tell.step("three real Envoys, each with a certificate from its agent", "") as step:
        served = await start.running.enter_async_context(application.serving())
        payments = await parts.start_receiver(start, binary, PAYMENTS, served.port)
        web = await parts.start_caller(start, binary, WEB, payments)
        intruder = await parts.start_caller(start, binary, INTRUDER, payments)
        for sidecar in (payments, web, intruder):
            (certificate,) = await sidecar.held()
            same("the identity that Envoy holds", str(spiffe_id(sidecar.account)), certificate.spiffe_id)
            step.say(str(certificate))
        step.facts["identities"] = [str(spiffe_id(account)) for account in WORKLOADS]
    return Mesh(
        start=start,
        ca=ca,
        application=served,
        payments=payments,
        web=web,
        intruder=intruder,
        payments_port=await payments.port(),
        web_port=await web.port(),
        intruder_port=await intruder.port(),
    )


async def start_ca(start: Start) -> Ca:
    """Start the CA, with a policy to push, and show it.

    Raises:
        Unavailable: reason `demo_step`.
    """
    start.places.policies.mkdir(mode=0o700)
    start.places.policy.write_text(policy([CHARGES]), encoding="utf-8")
    with start.tell.step("a CA with a local token issuer", "CA") as step:
        ca = await parts.start_ca(start)
        step.say(f"{ca.endpoint} for tokens, {ca.endpoint_mtls} for certificates")
        step.say(f"root sha256 {ca.fingerprint}", root_sha256=ca.fingerprint)
    return ca


async def start_agents(
    start: Start, ca: Ca, *, write_certificates: bool = False
) -> Mapping[ServiceAccount, Child]:
    """Give each workload a token and an agent, and show them.

    Raises:
        Unavailable: reason `demo_step`.
    """
    with start.tell.step("three workloads, each with a token and an agent", "CA", "agent") as step:
        await parts.write_tokens(start.places, WORKLOADS)
        agents = {
            account: await parts.start_agent(start, ca, account, write_certificates=write_certificates)
            for account in WORKLOADS
        }
        for account, agent in agents.items():
            await agent.writes(parts.socket_of(start.places, account), AGENT_SECONDS)
            step.say(f"{account}")
    return agents


def same(what: str, expected: T, actual: T) -> None:
    """Go on only when something is as it should be.

    Raises:
        InvariantBroken: reason `demo_differs`.
    """
    if actual != expected:
        raise InvariantBroken("demo_differs", f"{what} is {actual}, expected {expected}")

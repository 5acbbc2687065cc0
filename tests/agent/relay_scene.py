"""An agent's relay between a CA and an Envoy, over real mTLS; a test says what the Envoy answers."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from pathlib import Path

from meshca.agent.ca_client import CaAddress, CaClient
from meshca.agent.channel import Lent
from meshca.agent.envoys import Envoys
from meshca.agent.holding import Holding
from meshca.agent.intake import PoliciesIntake, RootsIntake
from meshca.agent.keys import KeyChoice, fresh_key
from meshca.agent.pin import SystemRoots
from meshca.agent.relay import Desk, Relay
from meshca.agent.state import State
from meshca.agent.trust import Trust
from meshca.backoff import Backoff, Pace
from meshca.clock import SystemClock
from meshca.config.resource_names import AUTHZ, EXTENSION_TYPE_URL, SECRET_TYPE_URL
from meshca.discovery.event import Adopted, Closed, Event, Refused, Subscribed
from meshca.wire.node import Node
from meshca.wire.xds_streams import Notice
from tests.fakes.agent_values import bundle_of, new_root, policy_body
from tests.fakes.ca import ServingCa
from tests.fakes.control_plane import ControlPlane

PID = 4242


class NotedClock(SystemClock):
    """The machine's clock, which tells of each pause."""

    def __init__(self, pauses: asyncio.Queue[float]) -> None:
        self._pauses = pauses

    async def sleep(self, seconds: float) -> None:
        """Tell, and sleep."""
        self._pauses.put_nowait(seconds)
        await super().sleep(seconds)


class Scene:
    """An agent's relay between a CA and an Envoy."""

    def __init__(self, folder: Path, serving: ServingCa, plane: ControlPlane) -> None:
        self.pauses: asyncio.Queue[float] = asyncio.Queue()
        clock = NotedClock(self.pauses)
        self.serving = serving
        self.ca = serving.ca
        self.plane = plane
        self.state = State(folder / "state")
        self.holding = Holding(clock)
        self.envoys = Envoys()
        root = folder / "root.pem"
        root.write_text(self.ca.root.pem)
        self.trust = Trust(SystemRoots(), fetch=self._nothing, clock=clock, changed=self.holding.take_bundle)
        self.trust.first(bundle_of(self.ca.root, now=clock.now()))
        self.policies = PoliciesIntake(self.holding, self.state)
        self.anew = 0
        self.lent = Lent()
        desk = Desk(
            target=serving.mtls,
            server_name="",
            node_id="web-0",
            instance="7c",
            trust=self.trust,
            prove_anew=self._prove_anew,
            lent=self.lent,
        )
        self.relay = Relay(
            desk,
            (RootsIntake(self.holding, self.trust, clock, lambda: None), self.policies),
            self.holding,
            self.envoys,
            Pace(clock=clock, rng=random.Random(1), backoff=Backoff(floor=0.01, ceiling=0.05)),
        )

    @staticmethod
    async def _nothing() -> tuple[()]:
        return ()

    def _prove_anew(self) -> None:
        self.anew += 1

    async def tries(self, number: int) -> None:
        """Wait until the stream was opened in vain so often from now on."""
        while not self.pauses.empty():
            self.pauses.get_nowait()
        async with asyncio.timeout(10):
            for _ in range(number):
                await self.pauses.get()

    def envoy(self, name: str, event: Event, *, envoy: str = "one") -> None:
        """Something happened at an Envoy."""
        type_url = EXTENSION_TYPE_URL if name == AUTHZ else SECRET_TYPE_URL
        notice = Notice(peer=envoy, stream=f"{envoy}-{name}", node=Node(), type_url=type_url, event=event)
        self.envoys.observe(notice, PID)
        self.relay.review()

    async def said(self, kind: type[Adopted | Refused | Subscribed], name: str, since: int = 0) -> Notice:
        """What the CA heard of a resource."""

        def wanted(notice: Notice) -> bool:
            event = notice.event
            names = event.names if isinstance(event, Subscribed | Closed) else getattr(event, "versions", ())
            return isinstance(event, kind) and name in names

        return await self.plane.heard(wanted, since=since)

    async def offered(self, ready: Callable[[], bool]) -> None:
        """Wait until the holding has this."""
        changed = asyncio.Event()
        unwatch = self.holding.watch(changed.set)
        async with asyncio.timeout(10):
            while not ready():
                await changed.wait()
                changed.clear()
        unwatch()

    @property
    def leaf(self) -> str:
        """Serial of the certificate that the agent has."""
        assert self.holding.svid is not None
        return self.holding.svid.serial

    def push(self, name: str, text: str) -> str:
        """The CA pushes something good; gives its version."""
        if name == AUTHZ:
            return self.plane.push_policies(policy_body(text))
        now = SystemClock().now()
        return self.plane.push_roots(bundle_of(self.ca.root, new_root(text, now), now=now).pem)

    async def renew(self, *, within: float = 10.0) -> None:
        """Ask for a certificate by the one that is held."""
        address = CaAddress(token=self.serving.token, mtls=self.serving.mtls)
        client = CaClient(
            address=address, trust=self.trust, token_file=Path("none"), timeout=within, lent=self.lent
        )
        assert self.holding.svid is not None
        await client.by_certificate(fresh_key(KeyChoice.EC_P256, None).csr, self.holding.svid)

    def version(self, name: str) -> str:
        """What the holding has."""
        held = self.holding.policies if name == AUTHZ else self.holding.bundle
        return held.version if held is not None else ""

    def mark(self) -> int:
        """Notices so far."""
        return len(self.plane.notices)

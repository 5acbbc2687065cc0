"""Wires the agent's rooms into one running process, and takes it down again.

Nothing is decided here. At the end the sockets are gone; what Envoy holds, it keeps.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from meshca.agent.attendance import Attendance
from meshca.agent.ca_client import CaAddress, CaClient
from meshca.agent.channel import Lent
from meshca.agent.envoys import Envoys
from meshca.agent.holding import Holding
from meshca.agent.instance import instance
from meshca.agent.intake import PoliciesIntake, RootsIntake
from meshca.agent.issuer import Issuer
from meshca.agent.memory import keep_small
from meshca.agent.options import Options
from meshca.agent.order import OrderIntake, Orders
from meshca.agent.output import FileOutput, prepare_folder
from meshca.agent.pin import RootFile
from meshca.agent.presented import presented_chain
from meshca.agent.readiness import open_readiness
from meshca.agent.relay import Desk, Relay
from meshca.agent.renewal import Renewal
from meshca.agent.sds import Door, open_socket
from meshca.agent.state import State
from meshca.agent.svid import Expected
from meshca.agent.token_file import claimed_account, read_token
from meshca.agent.trust import Trust
from meshca.backoff import Pace
from meshca.clock import SystemClock
from meshca.errors import ConfigError, Unavailable
from meshca.identity.service_account import ServiceAccount
from meshca.identity.spiffe_id import SpiffeId
from meshca.log import log

Work = Callable[[], Coroutine[Any, Any, object]]


async def run(options: Options) -> None:
    """Run until SIGTERM or SIGINT.

    Raises:
        ConfigError: something that must be there at the start is not.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    agent = Agent(options, Pace(clock=SystemClock()))
    await agent.check_root_file()
    async with agent.open() as works, asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(work()) for work in works]
        log.info("agent.started", endpoint=str(options.endpoint), socket=str(options.socket))
        await stop.wait()
        log.info("agent.stopping")
        for task in running:
            task.cancel()


class Agent:
    """The agent's parts.

    Args:
        options: what the agent is told.
        pace: the clock of everything, and pauses between tries.

    Raises:
        ConfigError: a folder cannot be used.
    """

    def __init__(self, options: Options, pace: Pace) -> None:
        self._options = options
        clock = self._clock = pace.clock
        self._pace = pace
        self._account = options.account or _claimed(options.token_file)
        self.holding = Holding(clock)
        self._lent = Lent()
        state = State(options.state_dir) if options.state_dir else None
        self._attendance = Attendance(clock, state)
        self._envoys = Envoys(self._attendance)
        self._instance = instance(state, options.socket)
        self._trust = Trust(
            options.pin,
            fetch=lambda: presented_chain(options.endpoint, options.server_name, options.call_timeout),
            clock=clock,
            state=state,
            changed=self.holding.take_bundle,
        )
        self._orders = Orders(pace, lambda: self._roots.verdict(self._envoys))
        self._renewal = Renewal(self._issuer(), self.holding, self._expected(), pace, self._orders)
        self._roots = RootsIntake(self.holding, self._trust, clock, self._renewal.hurry)
        self._policies = PoliciesIntake(self.holding, state)
        self._policies.restore(self._account)
        self._relay = self._make_relay()

    async def check_root_file(self) -> None:
        """Without network: a root file that does not read is the operator's to mend now, not at 3 in the morning.

        Raises:
            ConfigError: it holds no root, and none was learnt before.
        """
        if isinstance(self._options.pin, RootFile):
            try:
                await self._trust.channel_roots()
            except Unavailable as error:
                raise ConfigError("--root", [error.detail]) from None

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[list[Work]]:
        """Open the sockets; gives the work that is then to be run.

        Raises:
            ConfigError: a socket or folder cannot be used.
        """
        options = self._options
        works: list[Work] = [self.holding.run, self._renewal.run, partial(keep_small, self._clock)]
        works.append(partial(self._attendance.run, self._noticed))
        if self._relay is not None:
            works.append(self._relay.run)
        if options.write_certs is not None:
            prepare_folder(options.write_certs, "--write-certs")
            works.append(FileOutput(options.write_certs, self.holding, self._clock).run)
        _make_parent(options.socket)
        door = Door(path=options.socket, allowed_uids=options.allowed_uids, answer_timeout=options.envoy_timeout)
        async with contextlib.AsyncExitStack() as stack:
            if options.readiness is not None:
                await stack.enter_async_context(open_readiness(options.readiness, self.state))
            socket = await stack.enter_async_context(
                open_socket(door, self.holding, self._envoys, self._noticed, self._clock)
            )
            yield [*works, socket.run]

    def state(self) -> Mapping[str, object]:
        """What /readyz says."""
        problem = self.holding.problem()
        svid, bundle, policies = self.holding.svid, self.holding.bundle, self.holding.policies
        return {
            "ready": not problem,
            "reason": problem,
            "spiffe_id": str(svid.identity) if svid else "",
            "not_after": svid.not_after.isoformat() if svid else "",
            "roots": bundle.version if bundle else "",
            "policies": policies.version if policies else "",
            "envoys": len(self._envoys),
        }

    def _noticed(self) -> None:
        self._renewal.look()
        if self._relay is not None:
            self._relay.review()

    def _issuer(self) -> Issuer:
        options = self._options
        client = CaClient(
            address=CaAddress(token=options.endpoint, mtls=options.endpoint_mtls, server_name=options.server_name),
            trust=self._trust,
            token_file=options.token_file,
            timeout=options.call_timeout,
            lifetime=options.lifetime,
            lent=self._lent,
        )
        return Issuer(
            ca=client,
            trust=self._trust,
            clock=self._clock,
            key=options.key_type,
            renew_by_certificate=options.endpoint_mtls is not None,
        )

    def _expected(self) -> Expected:
        domain, account = self._options.trust_domain, self._account
        identity = SpiffeId.of(domain, account) if domain and account else None
        return Expected(identity=identity, account=account, trust_domain=domain)

    def _make_relay(self) -> Relay | None:
        options = self._options
        if options.endpoint_mtls is None:
            log.warning("relay.off", why="no --endpoint-mtls: neither new roots nor policies come from the CA")
            return None
        desk = Desk(
            target=options.endpoint_mtls,
            server_name=options.server_name,
            node_id=options.node_id,
            instance=self._instance,
            trust=self._trust,
            prove_anew=self._renewal.prove_anew,
            lent=self._lent,
        )
        intakes = (self._roots, self._policies, OrderIntake(self._orders, self._renewal.look))
        return Relay(desk, intakes, self.holding, self._envoys, self._pace)


def _claimed(token_file: Path) -> ServiceAccount | None:
    """Whom our own token names; it may not be there yet."""
    try:
        return claimed_account(read_token(token_file))
    except Unavailable as error:
        log.warning("token.not_yet", detail=error.detail)
        return None


def _make_parent(socket: Path) -> None:
    try:
        socket.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        problem = f"cannot make the folder {socket.parent} ({error.strerror}); name another socket"
        raise ConfigError("--socket", [problem]) from None

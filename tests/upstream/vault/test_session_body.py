"""What a call sends is made when it may be sent; how long it may not is told."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from meshca.errors import Unavailable
from meshca.upstream.vault.faults import Fault, failure
from meshca.upstream.vault.session import Session
from tests.fakes.clock import FakeClock
from tests.fakes.jitter import Jitter
from tests.fakes.vault import LOGIN, FakeVault

PATH = "pki/allowed"
SECONDS = 300


class Served(FakeVault):
    """Remembers what it was sent."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self.token_seconds = SECONDS
        self.sent: list[object] = []

    def _sign(self, path: str, body: object) -> dict[str, object]:
        self.sent.append(body)
        return {}


class Bodies:
    """Makes bodies, numbered."""

    made = 0

    def __call__(self) -> Mapping[str, object]:
        """The next."""
        self.made += 1
        return {"number": self.made}


async def refused(session: Session, bodies: Bodies) -> None:
    """A call that fails."""
    with pytest.raises(Unavailable):
        await session.call("post", PATH, bodies)


async def test_made_once() -> None:
    """One for each call, also for one that is repeated with a fresh token."""
    clock, bodies = FakeClock(), Bodies()
    vault = Served(clock)
    session = Session(vault, vault.login, clock, Jitter(1.0))
    await session.call("post", PATH, bodies)
    vault.revoke()
    await session.call("post", PATH, bodies)
    assert vault.sent == [{"number": 1}, {"number": 2}]


async def test_not_made() -> None:
    """None without a token, nor for a path that was refused just now; how long that lasts is told."""
    clock, bodies = FakeClock(), Bodies()
    vault = Served(clock)
    session = Session(vault, vault.login, clock, Jitter(1.0))
    assert session.left(PATH) == 0
    vault.errors[LOGIN] = failure(Fault.LOGIN_REFUSED)
    await refused(session, bodies)
    assert (bodies.made, session.left(PATH)) == (0, 2.0)
    clock.move(2.0)
    vault.errors = {PATH: failure(Fault.FORBIDDEN)}
    await refused(session, bodies)
    await refused(session, bodies)
    assert (bodies.made, session.left(PATH), session.left("pki/other")) == (1, 2.0, 0.0)


async def test_a_token_that_is_over() -> None:
    """Once a token is over the login that fails holds calls back."""
    clock, bodies = FakeClock(), Bodies()
    vault = Served(clock)
    session = Session(vault, vault.login, clock, Jitter(1.0))
    await session.call("post", PATH, bodies)
    clock.move(SECONDS)
    vault.errors[LOGIN] = failure(Fault.LOGIN_REFUSED)
    await refused(session, bodies)
    assert (bodies.made, session.left(PATH)) == (1, 2.0)

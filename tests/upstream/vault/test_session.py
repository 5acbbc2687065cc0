"""The life of a token, by a fake clock over a Vault in memory that counts what it is asked."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from meshca.errors import Unavailable
from meshca.upstream.vault.answer import Answer
from meshca.upstream.vault.client import Client
from meshca.upstream.vault.faults import Fault, failure, fault_of
from meshca.upstream.vault.logins import Token
from meshca.upstream.vault.patience import OUTAGE, REFUSAL
from meshca.upstream.vault.session import Session
from tests.fakes.clock import FakeClock
from tests.fakes.jitter import Jitter
from tests.fakes.logs import captured_logs
from tests.fakes.vault import LOGIN, RENEWAL, FakeVault

PATH = "pki/allowed"
SECONDS = 300  # of a token


class Served(FakeVault):
    """Answers `PATH` to whoever has a token, with nothing."""

    def _sign(self, path: str, body: object) -> dict[str, object]:
        return {}


@pytest.fixture
def clock() -> FakeClock:
    """Moved by hand."""
    return FakeClock()


@pytest.fixture
def vault(clock: FakeClock) -> Served:
    """With tokens of five minutes."""
    made = Served(clock)
    made.token_seconds = SECONDS
    return made


@pytest.fixture
def session(vault: Served, clock: FakeClock) -> Session:
    """Which has not asked yet."""
    return Session(vault, vault.login, clock, Jitter(1.0))


async def test_cancelled_login(vault: Served, clock: FakeClock) -> None:
    """A login whose caller is cancelled goes on, and the next caller has its token."""
    answer, begun = asyncio.Event(), list[Client]()

    async def slow(client: Client) -> Token:
        begun.append(client)
        await answer.wait()
        return await vault.login(client)

    session = Session(vault, slow, clock, Jitter(1.0))
    first = asyncio.create_task(session.call("post", PATH))
    await clock.advance(0)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    second = asyncio.create_task(session.call("post", PATH))
    await clock.advance(0)
    answer.set()
    await second
    await session.call("post", PATH)
    assert (first.cancelled(), begun) == (True, [vault])


@contextlib.asynccontextmanager
async def running(session: Session) -> AsyncIterator[None]:
    """With its token kept fresh beside the block."""
    task = asyncio.create_task(session.run())
    try:
        yield
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def fault(session: Session) -> Fault | None:
    """What the call fails with."""
    with pytest.raises(Unavailable) as refused:
        await session.call("post", PATH)
    return fault_of(refused.value)


async def test_one_login(session: Session, vault: Served) -> None:
    """The first call logs in; those after it do not."""
    for _ in range(3):
        await session.call("post", PATH)
    assert vault.calls == [LOGIN, PATH, PATH, PATH]


async def test_ready_before_it_is_needed(session: Session, vault: Served, clock: FakeClock) -> None:
    """The token is there before anything is called."""
    async with running(session):
        await clock.advance(0)
        assert vault.calls == [LOGIN]


async def test_renewed_at_two_thirds(session: Session, vault: Served, clock: FakeClock) -> None:
    """A token is renewed when two thirds of its life are over, and not before."""
    async with running(session):
        await clock.advance(SECONDS * 2 / 3 - 1)
        assert vault.times(RENEWAL) == 0
        await clock.advance(2)
        assert vault.calls == [LOGIN, RENEWAL]


async def test_idle_for_days(session: Session, vault: Served, clock: FakeClock) -> None:
    """For days without a call the token is kept by renewals alone, and the call after them needs no login."""
    async with running(session):
        for _ in range(3 * 24 * 3600 // 200):
            await clock.advance(200)
        await session.call("post", PATH)
    assert vault.times(LOGIN) == 1
    assert vault.times(RENEWAL) == 3 * 24 * 3600 // 200


async def test_slow_renewal(vault: Served, clock: FakeClock) -> None:
    """While a renewal hangs, calls go on with the token that is good."""
    session, renewing, may = Session(vault, vault.login, clock, Jitter(1.0)), asyncio.Event(), asyncio.Event()
    call = vault.call

    async def slow(*args: Any, **options: Any) -> Answer:
        if args[1] == RENEWAL:
            renewing.set()
            await may.wait()
        return await call(*args, **options)

    vault.call = slow  # type: ignore[method-assign]  # this test alone has it slow
    async with running(session):
        await clock.advance(SECONDS * 2 / 3 + 1)
        await renewing.wait()
        async with asyncio.timeout(10):
            await session.call("post", PATH)
        may.set()
    assert vault.times(LOGIN) == 1


async def test_not_renewable(session: Session, vault: Served, clock: FakeClock) -> None:
    """A token that cannot be renewed, such as a batch token, is replaced at two thirds by a login."""
    vault.renewable = False
    async with running(session):
        await clock.advance(SECONDS * 2 / 3 + 1)
    assert vault.calls == [LOGIN, LOGIN]


async def test_renewal_refused(session: Session, vault: Served, clock: FakeClock) -> None:
    """When a renewal is refused, as of a revoked token, there is a login at once."""
    async with running(session):
        await clock.advance(0)
        vault.revoke()
        await clock.advance(SECONDS * 2 / 3 + 1)
    assert vault.calls == [LOGIN, RENEWAL, LOGIN]


async def test_last_end(session: Session, vault: Served, clock: FakeClock) -> None:
    """Near the end that no renewal goes beyond there is a login, and the token is never over."""
    vault.longest = 700
    async with running(session):
        for _ in range(20):
            await clock.advance(100)
            await session.call("post", PATH)
    assert vault.times(LOGIN) == 1 + 2000 // 700 + 1
    assert vault.calls.count(PATH) == 20


async def test_over_within_a_second(session: Session, vault: Served, clock: FakeClock) -> None:
    """A renewal that gives less than a second gives nothing, and not a token that lasts for ever."""
    vault.longest = SECONDS * 2 / 3 + 0.5
    async with running(session):
        await clock.advance(SECONDS * 2 / 3)
    assert vault.calls == [LOGIN, RENEWAL, LOGIN]


async def test_over_while_logins_fail(session: Session, vault: Served, clock: FakeClock) -> None:
    """Nor is it then shown when it is over."""
    vault.longest = SECONDS * 2 / 3 + 0.5
    async with running(session):
        await clock.advance(0)
        vault.errors[LOGIN] = failure(Fault.SEALED)
        await clock.advance(SECONDS + 1)
        assert await fault(session) is Fault.SEALED
    assert vault.times(PATH) == 0


async def test_last_end_while_logins_fail(session: Session, vault: Served, clock: FakeClock) -> None:
    """What the last renewals give is used as long as no login succeeds."""
    vault.longest = SECONDS + 50
    async with running(session):
        await clock.advance(0)
        vault.errors[LOGIN] = failure(Fault.SEALED)
        await clock.advance(SECONDS + 20)
        await session.call("post", PATH)
    assert vault.times(LOGIN) > 1


async def test_for_ever(session: Session, vault: Served, clock: FakeClock) -> None:
    """A token without an end is neither renewed nor replaced."""
    vault.token_seconds = 0
    async with running(session):
        await clock.advance(30 * 24 * 3600)
        await session.call("post", PATH)
    assert vault.calls == [LOGIN, PATH]


async def test_over(session: Session, vault: Served, clock: FakeClock) -> None:
    """A token that is over, as after a machine slept, is not shown any more."""
    await session.call("post", PATH)
    clock.move(SECONDS)
    await session.call("post", PATH)
    assert vault.calls == [LOGIN, PATH, LOGIN, PATH]


async def test_revoked(session: Session, vault: Served) -> None:
    """A call with a token that was revoked gets exactly one fresh login, and succeeds."""
    await session.call("post", PATH)
    vault.revoke()
    await session.call("post", PATH)
    assert vault.calls == [LOGIN, PATH, PATH, LOGIN, PATH]


async def test_shorter_token(session: Session, vault: Served, clock: FakeClock) -> None:
    """A token that a call had instead of a refused one is renewed in its own time."""
    async with running(session):
        await session.call("post", PATH)
        vault.revoke()
        vault.token_seconds = 30
        await session.call("post", PATH)
        await clock.advance(21)
    assert vault.times(RENEWAL) == 1


async def test_two_refused_at_once(session: Session, vault: Served) -> None:
    """Two calls whose token is refused have one login between them."""
    await session.call("post", PATH)
    vault.revoke()
    await asyncio.gather(session.call("post", PATH), session.call("post", PATH))
    assert vault.times(LOGIN) == 2


async def test_many_refused_at_once(session: Session, vault: Served, clock: FakeClock) -> None:
    """Whatever the number of calls that a policy refuses, they cost one login and are one refusal to wait for."""
    await session.call("post", "pki/other")
    vault.errors[PATH] = failure(Fault.FORBIDDEN)
    assert await asyncio.gather(*(fault(session) for _ in range(20))) == [Fault.FORBIDDEN] * 20
    assert vault.times(LOGIN) == 2
    vault.errors.clear()
    clock.move(REFUSAL.floor * 2)
    await session.call("post", PATH)


async def test_refused_while_another_is(session: Session, vault: Served) -> None:
    """A call that begins with the fresh token, before that is refused to another, costs no further login."""
    await session.call("post", "pki/other")
    vault.errors[PATH] = failure(Fault.FORBIDDEN)
    first = asyncio.create_task(fault(session))
    while vault.times(LOGIN) < 2 or vault.times(PATH) < 2:  # noqa: ASYNC110 - a count
        await asyncio.sleep(0)
    assert [await fault(session), await first] == [Fault.FORBIDDEN] * 2
    assert vault.times(LOGIN) == 2


async def test_refused_by_policy(session: Session, vault: Served, clock: FakeClock) -> None:
    """What a token may not do costs one fresh login, then nothing until the pause is over, then one again."""
    await session.call("post", "pki/other")
    vault.errors[PATH] = failure(Fault.FORBIDDEN)
    vault.calls.clear()
    assert await fault(session) is Fault.FORBIDDEN
    assert vault.calls == [PATH, LOGIN, PATH]
    for _ in range(20):
        assert await fault(session) is Fault.FORBIDDEN
    assert vault.calls == [PATH, LOGIN, PATH]
    clock.move(REFUSAL.ceiling)
    assert await fault(session) is Fault.FORBIDDEN
    assert vault.calls == [PATH, LOGIN, PATH] * 2


async def test_refused_to_a_fresh_token(session: Session, vault: Served) -> None:
    """What is refused to a token that the call itself has just had is not asked again with another."""
    vault.errors[PATH] = failure(Fault.FORBIDDEN)
    assert await fault(session) is Fault.FORBIDDEN
    assert vault.calls == [LOGIN, PATH]


async def test_refused_for_one_path(session: Session, vault: Served) -> None:
    """A refusal of one path holds back no other."""
    vault.errors[PATH] = failure(Fault.FORBIDDEN)
    assert await fault(session) is Fault.FORBIDDEN
    await session.call("post", "pki/other")


async def test_allowed_again(session: Session, vault: Served, clock: FakeClock) -> None:
    """Once the policy is mended the call succeeds after the pause."""
    vault.errors[PATH] = failure(Fault.FORBIDDEN)
    assert await fault(session) is Fault.FORBIDDEN
    vault.errors.clear()
    clock.move(REFUSAL.floor * 2)
    await session.call("post", PATH)


async def test_other_failures(session: Session, vault: Served) -> None:
    """A call that fails for another reason is no reason to log in, nor to hold the next one back."""
    await session.call("post", PATH)
    vault.errors[PATH] = failure(Fault.SERVER_ERROR)
    assert [await fault(session), await fault(session)] == [Fault.SERVER_ERROR] * 2
    assert vault.calls == [LOGIN, PATH, PATH, PATH]


async def test_login_fails(session: Session, vault: Served, clock: FakeClock) -> None:
    """While logins fail, calls ask for none until the pause is over; then one login makes good."""
    vault.errors[LOGIN] = failure(Fault.LOGIN_REFUSED)
    assert [await fault(session) for _ in range(20)] == [Fault.LOGIN_REFUSED] * 20
    assert vault.calls == [LOGIN]
    vault.errors.clear()
    clock.move(REFUSAL.ceiling)
    await session.call("post", PATH)
    assert vault.calls == [LOGIN, LOGIN, PATH]


async def test_login_fails_anew(session: Session, vault: Served, clock: FakeClock) -> None:
    """After a login that succeeded the next failure is a first one: it is soon asked again."""
    for errors in (3, 1):
        vault.errors[LOGIN] = failure(Fault.LOGIN_REFUSED)
        for _ in range(errors):
            assert await fault(session) is Fault.LOGIN_REFUSED
            clock.move(REFUSAL.ceiling if errors > 1 else REFUSAL.floor * 2)
        vault.errors.clear()
        await session.call("post", PATH)
        vault.revoke()


async def test_refused_anew(session: Session, vault: Served, clock: FakeClock) -> None:
    """Nor is a refusal of a path counted with those before a call that was allowed."""
    for errors in (3, 1):
        vault.errors[PATH] = failure(Fault.FORBIDDEN)
        for _ in range(errors):
            assert await fault(session) is Fault.FORBIDDEN
            clock.move(REFUSAL.ceiling if errors > 1 else REFUSAL.floor * 2)
        vault.errors.clear()
        await session.call("post", PATH)


async def test_good_token_while_logins_fail(session: Session, vault: Served, clock: FakeClock) -> None:
    """A token that is good is used although the login that shall replace it fails."""
    vault.renewable = False
    async with running(session):
        await clock.advance(0)
        vault.errors[LOGIN] = failure(Fault.LOGIN_REFUSED)
        await clock.advance(SECONDS * 2 / 3 + 1)
        await session.call("post", PATH)
    assert vault.times(LOGIN) == 2


async def test_outage(session: Session, vault: Served, clock: FakeClock) -> None:
    """After an outage of a day a fresh token is there within seconds, and nobody logged in while one was good."""
    async with running(session):
        await clock.advance(0)
        vault.error = failure(Fault.UNREACHABLE)
        await clock.advance(SECONDS - 1)
        assert vault.times(LOGIN) == 1
        for _ in range(24):
            await clock.advance(3600)
        vault.error = None
        vault.calls.clear()
        await clock.advance(OUTAGE.ceiling)
        assert vault.calls[-1] == LOGIN
        await session.call("post", PATH)


async def test_outage_is_no_storm(session: Session, vault: Served, clock: FakeClock) -> None:
    """In an outage the server is asked no oftener than the pause allows."""
    vault.error = failure(Fault.UNREACHABLE)
    async with running(session):
        await clock.advance(600)
    assert 600 / OUTAGE.ceiling <= len(vault.calls) <= 600 / OUTAGE.floor


async def test_failures_are_logged(session: Session, vault: Served, clock: FakeClock) -> None:
    """Why there is no token is logged; the token itself never is."""
    with captured_logs() as logs:
        async with running(session):
            await clock.advance(0)
            vault.error = failure(Fault.SEALED)
            await clock.advance(SECONDS)
    assert {entry["event"]: entry.get("reason") for entry in logs} == {
        "vault.logged_in": None,
        "vault.token": "vault_sealed",
    }
    assert "token-1" not in str(logs)

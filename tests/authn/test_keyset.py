"""Tests of meshca.authn.keyset."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from meshca.authn.keyset import KeySet
from meshca.errors import MeshcaError, Unauthenticated, Unavailable
from tests.fakes.clock import FakeClock
from tests.fakes.logs import captured_logs
from tests.fakes.tokens import MemorySource, ec_key, key_set, public_jwk

ONE = key_set(public_jwk(ec_key(1), kid="one"))
TWO = key_set(public_jwk(ec_key(2), kid="two"))
BOTH = key_set(public_jwk(ec_key(1), kid="one"), public_jwk(ec_key(2), kid="two"))


class GatedSource(MemorySource):
    """A source that answers when the test opens the gate."""

    def __init__(self, document: bytes | None) -> None:
        super().__init__(document)
        self.gate = asyncio.Event()

    async def fetch(self) -> bytes:
        """The document, once the gate is open."""
        self.fetches += 1
        await self.gate.wait()
        self.fetches -= 1
        return await super().fetch()


class Subject:
    """A key set with its source and clock: refreshed each 300 s, unknown ids asked for at most each 30 s."""

    def __init__(self, document: bytes | None = ONE, source: MemorySource | None = None) -> None:
        self.clock = FakeClock()
        self.source = source or MemorySource(document)
        self.keys = KeySet(
            "home", self.source, self.clock, refresh=timedelta(seconds=300), refetch=timedelta(seconds=30)
        )

    async def failure(self, key_id: str | None) -> MeshcaError:
        """The error of looking for a key."""
        with pytest.raises(MeshcaError) as caught:
            await self.keys.find(key_id)
        return caught.value


async def test_the_first_look_fetches() -> None:
    """A key set is usable without anything running beside it."""
    subject = Subject()
    assert (await subject.keys.find("one")).key_id == "one"
    assert (await subject.keys.find("one")).key_id == "one"
    assert subject.source.fetches == 1


async def test_an_unknown_key_is_asked_for_once_in_an_interval() -> None:
    """Strangers who invent key ids cause one fetch in 30 s, no matter how many they are."""
    subject = Subject()
    await subject.keys.find("one")
    for second in range(61):
        assert (await subject.failure(f"invented-{second}")).reason == "token_unknown_key"
        subject.clock.move(1)
    assert subject.source.fetches == 3


async def test_a_new_key_is_found_when_asking_is_due() -> None:
    """A rotation at the issuer is followed at the first token with the new key."""
    subject = Subject()
    await subject.keys.find("one")
    subject.source.document = BOTH
    assert (await subject.failure("two")).reason == "token_unknown_key"
    subject.clock.move(30)
    assert (await subject.keys.find("two")).key_id == "two"
    assert (await subject.keys.find("one")).key_id == "one"


async def test_a_withdrawn_key_is_gone_after_the_refresh() -> None:
    """A key that its issuer no longer publishes proves nobody."""
    subject = Subject(BOTH)
    await subject.keys.find("one")
    subject.source.document = TWO
    await subject.keys.fetch()
    assert isinstance(await subject.failure("one"), Unauthenticated)


async def test_without_keys_nothing_is_decided() -> None:
    """Before the first good fetch callers are told to try again, not that they are wrong."""
    error = await Subject(None).failure("one")
    assert (type(error), error.reason) == (Unavailable, "issuer_keys")
    assert error.detail == "home: no keys yet: the test's source is down"


async def test_a_source_that_never_answered_is_asked_sparingly() -> None:
    """While there are no keys, calls cause a fetch after 1, 2, 4 seconds and so on."""
    subject = Subject(None)
    for _ in range(8):
        await subject.failure("one")
        subject.clock.move(1)
    assert subject.source.fetches == 4  # at 0, 1, 3 and 7 s
    subject.source.document = ONE
    subject.clock.move(8)
    assert (await subject.keys.find("one")).key_id == "one"


@pytest.mark.parametrize(
    "document", [None, b"{", b'{"keys": [{"kty": "oct"}]}'], ids=["down", "broken", "nothing usable"]
)
async def test_the_last_good_keys_are_kept(document: bytes | None) -> None:
    """A bad fetch replaces nothing and is logged."""
    subject = Subject()
    await subject.keys.fetch()
    subject.source.document = document
    with captured_logs() as logs:
        await subject.keys.fetch()
    assert (await subject.keys.find("one")).key_id == "one"
    assert [(event["event"], event["kept"]) for event in logs] == [("authn.keys_failed", True)]


async def test_an_empty_set_is_taken_at_its_word() -> None:
    """An issuer can withdraw all its keys; then tokens are wrong, not undecided."""
    subject = Subject()
    await subject.keys.fetch()
    subject.source.document = key_set()
    await subject.keys.fetch()
    assert isinstance(await subject.failure("one"), Unauthenticated)


async def test_the_version_counts_changes() -> None:
    """Fetching the same document is no change, another one is."""
    subject, versions = Subject(), list[int]()
    for document in (ONE, ONE, BOTH, None, BOTH):
        subject.source.document = document
        await subject.keys.fetch()
        versions.append(subject.keys.version)
    assert versions == [1, 1, 2, 2, 2]


async def test_one_fetch_at_a_time() -> None:
    """Callers that come while a fetch is under way wait for that one."""
    source = GatedSource(ONE)
    subject = Subject(source=source)
    waiting = [asyncio.create_task(subject.keys.find("one")) for _ in range(10)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert source.fetches == 1
    source.gate.set()
    assert {key.key_id for key in await asyncio.gather(*waiting)} == {"one"}
    assert source.fetches == 1


async def test_who_gives_up_waiting_does_not_end_the_fetch() -> None:
    """A client whose deadline passes leaves the fetch to the others."""
    source = GatedSource(ONE)
    subject = Subject(source=source)
    impatient, patient = (asyncio.create_task(subject.keys.find("one")) for _ in range(2))
    await asyncio.sleep(0)
    impatient.cancel()
    await asyncio.gather(impatient, return_exceptions=True)
    source.gate.set()
    assert (await patient).key_id == "one"
    assert source.fetches == 1


async def test_keys_are_refreshed() -> None:
    """`run` fetches at once and again after each interval."""
    subject = Subject()
    running = asyncio.create_task(subject.keys.run())
    await subject.clock.advance(0)
    assert subject.source.fetches == 1
    await subject.clock.advance(600)
    assert subject.source.fetches == 3
    running.cancel()


async def test_a_failed_refresh_is_tried_again_sooner() -> None:
    """After 1, 2, 4 seconds and so on, never later than the interval; the fault is logged once."""
    subject = Subject()
    await subject.keys.fetch()
    subject.source.document = None
    with captured_logs() as logs:
        running = asyncio.create_task(subject.keys.run())
        await subject.clock.advance(7)
        assert subject.source.fetches == 1 + 4  # at 0, 1, 3 and 7 s
        await subject.clock.advance(3000)
    assert 1 + 4 + 3000 // 300 <= subject.source.fetches <= 1 + 4 + 17
    assert [(event["event"], event["kept"]) for event in logs] == [("authn.keys_failed", True)]
    running.cancel()


async def test_closing_ends_a_fetch() -> None:
    """Nothing is left running."""
    subject = Subject(source=GatedSource(ONE))
    subject.keys.close()
    waiting = asyncio.create_task(subject.keys.find("one"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    subject.keys.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting

"""Facts about a worker's obedience; how a real one serves is in tests/e2e."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import cast

import pytest

from meshca.app import worker as worker_module
from meshca.app.control import (
    Channel,
    Drain,
    Message,
    Probe,
    Probed,
    UseAdmission,
    UseAuthority,
    UseOrder,
    UsePolicies,
)
from meshca.app.doors import Doors
from meshca.app.leaf_desk import LeafDesk
from meshca.app.leaf_messages import GaveLeaf
from meshca.app.pipeline import Pipeline
from meshca.app.place import PROBE_SECONDS
from meshca.app.serving_certificate import ServingCertificate
from meshca.app.worker import Worker
from meshca.authn.cluster import ClusterState
from meshca.errors import ConfigError, Unavailable
from tests.fakes.clock import FakeClock

NEWS = [
    pytest.param(UseAuthority(chain="c", roots="r", key="k"), "authority", id="authority"),
    pytest.param(UseOrder(), "order", id="order"),
    pytest.param(UseAdmission(text="t", source="s"), "admission", id="admission"),
    pytest.param(UsePolicies(files={}), "policies", id="policies"),
]


class FakePipeline:
    """Refuses news while it is told to."""

    def __init__(self) -> None:
        self.refusing = False
        self.failing = False
        self.hanging = False
        self.clusters: tuple[ClusterState, ...] = ()
        self.token_away = 0  # how often
        self.taken: list[str] = []
        self.policies_may = asyncio.Event()
        self.policies_may.set()

    def use_authority(self, news: UseAuthority) -> None:
        """Take it or refuse it, or have no token to sign with."""
        if self.token_away:
            self.token_away -= 1
            raise Unavailable("key_token", "the token is away")
        self._decide(f"authority {news.chain}")

    def use_order(self, news: UseOrder) -> None:
        """Take it or refuse it."""
        self._decide("order")

    async def use_admission(self, news: UseAdmission) -> None:
        """Take them or refuse them."""
        self._decide("admission")

    async def use_policies(self, news: UsePolicies) -> None:
        """Take them or refuse them."""
        await self.policies_may.wait()
        self._decide("policies")

    async def probe(self) -> None:
        """Fail while told to."""
        if self.failing:
            raise Unavailable("store", "is full")
        if self.hanging:
            await asyncio.Event().wait()

    def _decide(self, kind: str) -> None:
        if self.refusing:
            raise ConfigError("file", ["a problem"])
        self.taken.append(kind)


class FakeCertificate:
    """Of a worker."""

    leaf = "PEM"

    def __init__(self) -> None:
        self.renewals = 0

    def signer_changed(self) -> None:
        """Count."""
        self.renewals += 1


class FakeDoors:
    """Remembers how long a drain may last."""

    closed = 0.0
    elsewhere = False
    while_closing = 0

    async def close(self, seconds: float, *, elsewhere: bool = False) -> None:
        """Remember; meanwhile others have so many turns."""
        for _ in range(self.while_closing):
            await asyncio.sleep(0)
        self.closed = seconds
        self.elsewhere = elsewhere


class FakeChannel:
    """Says what a test says, and keeps the answers."""

    def __init__(self) -> None:
        self.news: Sequence[Message] = ()
        self.answers: list[Message] = []

    async def messages(self) -> AsyncIterator[Message]:
        """What the test says."""
        for each in self.news:
            yield each

    async def send(self, *messages: Message) -> None:
        """Keep."""
        self.answers += messages


class FakeDesk:
    """Remembers what it was given."""

    def __init__(self) -> None:
        self.answers: list[GaveLeaf] = []

    def given(self, answer: GaveLeaf) -> None:
        """Remember."""
        self.answers.append(answer)


class Rig:
    """A worker of fakes."""

    def __init__(self) -> None:
        self.pipeline = FakePipeline()
        self.certificate = FakeCertificate()
        self.doors = FakeDoors()
        self.channel = FakeChannel()
        self.clock = FakeClock()
        self.desk = FakeDesk()
        self.worker = Worker(
            pipeline=cast("Pipeline", self.pipeline),
            doors=cast("Doors", self.doors),
            certificate=cast("ServingCertificate", self.certificate),
            channel=cast("Channel", self.channel),
            desk=cast("LeafDesk", self.desk),
            clock=self.clock,
        )

    async def tell(self, news: Message, *, refusing: bool = False) -> None:
        """Let the worker obey."""
        self.pipeline.refusing = refusing
        await self.worker._obey(news)
        for newest in self.worker._newest.values():
            await newest.done()

    async def probed(self) -> Probed:
        """What it answers to a probe."""
        return await self.worker._probed(7)


@pytest.fixture
def rig() -> Rig:
    """A worker that is fine."""
    return Rig()


async def test_fine(rig: Rig) -> None:
    """A worker in which all works says so, and shows its certificate."""
    assert await rig.probed() == Probed(id=7, ok=True, serving="PEM")


async def test_how_clusters_are(rig: Rig) -> None:
    """A worker tells how it sees them, also when it is not well."""
    rig.pipeline.clusters = (ClusterState(name="home", problem="gone"),)
    rig.pipeline.failing = True
    probed = await rig.probed()
    assert (probed.ok, probed.clusters) == (False, rig.pipeline.clusters)


@pytest.mark.parametrize(("news", "kind"), NEWS)
async def test_refused_news_show_until_good_ones(rig: Rig, news: Message, kind: str) -> None:
    """A worker that refused news is not ready and says why, until good news of that kind come."""
    await rig.tell(news, refusing=True)
    assert await rig.probed() == Probed(
        id=7, ok=False, detail=f"newer {kind} refused: file: a problem", serving="PEM"
    )
    await rig.tell(news)
    assert (await rig.probed()).ok


async def test_news_whose_token_is_away(rig: Rig) -> None:
    """They are tried again until it answers, and the worker is not ready meanwhile: nobody says them twice."""
    rig.pipeline.token_away = 3
    await rig.tell(UseAuthority(chain="c", roots="r", key="k"))
    assert (await rig.probed()).detail == "newer authority refused: the token is away"
    await rig.clock.advance(2 + 4 + 8)
    assert (rig.pipeline.taken, rig.certificate.renewals) == (["authority c"], 1)
    assert (await rig.probed()).ok
    await rig.clock.advance(1000)
    assert rig.pipeline.taken == ["authority c"]


@pytest.mark.parametrize("away", [1, 2], ids=["back", "away still"])
async def test_newer_news_than_those_whose_token_is_away(rig: Rig, away: int) -> None:
    """What is newer counts, and the older are not put in force after them."""
    rig.pipeline.token_away = away
    for chain in ("old", "new"):
        await rig.tell(UseAuthority(chain=chain, roots="r", key="k"))
    await rig.clock.advance(1000)
    assert rig.pipeline.taken == ["authority new"]


async def test_good_news_of_another_kind_mend_nothing(rig: Rig) -> None:
    """Good policies do not mend refused rules."""
    await rig.tell(UseAdmission(text="t", source="s"), refusing=True)
    await rig.tell(UsePolicies(files={}))
    assert "newer admission refused" in (await rig.probed()).detail


async def test_failed_probe_comes_first(rig: Rig) -> None:
    """What does not work at all is said before news that were refused."""
    await rig.tell(UsePolicies(files={}), refusing=True)
    rig.pipeline.failing = True
    assert (await rig.probed()).detail == "store: is full"


async def test_store_that_hangs_is_no_silence(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker whose store does not answer says so before its parent takes the worker for hung."""
    assert worker_module.ANSWER_SECONDS < PROBE_SECONDS
    monkeypatch.setattr(worker_module, "ANSWER_SECONDS", 0.01)
    rig.pipeline.hanging = True
    assert await rig.probed() == Probed(id=7, ok=False, detail="store: no answer within 0.01 s", serving="PEM")


async def test_slow_news_hold_up_nothing_else(rig: Rig) -> None:
    """While policies are put in force probes are answered, and rules and a signer come into force."""
    rig.pipeline.policies_may = asyncio.Event()
    for news in (
        UsePolicies(files={}),
        UseAdmission(text="t", source="s"),
        UseAuthority(chain="c", roots="", key=""),
    ):
        await rig.worker._obey(news)
    await rig.worker._newest[UseAdmission].done()
    assert (await rig.probed()).ok
    assert rig.pipeline.taken == ["authority c", "admission"]
    rig.pipeline.policies_may.set()
    await rig.worker._newest[UsePolicies].done()
    assert rig.pipeline.taken[2:] == ["policies"]


async def test_new_signer_renews_the_certificate(rig: Rig) -> None:
    """Another signer renews the serving certificate, a refused one does not."""
    news = UseAuthority(chain="c", roots="r", key="k")
    await rig.tell(news, refusing=True)
    assert rig.certificate.renewals == 0
    await rig.tell(news)
    assert rig.certificate.renewals == 1


async def test_an_order_renews_no_certificate_of_ours(rig: Rig) -> None:
    """It concerns leaves of workloads; what our ports show is renewed with its signer."""
    await rig.tell(UseOrder())
    assert (rig.pipeline.taken, rig.certificate.renewals) == (["order"], 0)


async def test_follows_until_told_to_drain(rig: Rig) -> None:
    """It drains as long as it is told to; what comes after that is not read."""
    rig.channel.news = (Drain(seconds=3), UsePolicies(files={}))
    rig.pipeline.refusing = True
    await rig.worker.follow()
    assert (rig.doors.closed, rig.doors.elsewhere) == (3, False)
    assert (await rig.probed()).ok


async def test_replaced_worker_sends_its_callers_elsewhere(rig: Rig) -> None:
    """When another worker serves already, no call is refused on the way out."""
    rig.channel.news = (Drain(seconds=3, replaced=True),)
    await rig.worker.follow()
    assert rig.doors.elsewhere


async def test_probe_is_answered(rig: Rig) -> None:
    """A probe is answered over the channel."""
    await rig.tell(Probe(id=7))
    for task in tuple(rig.worker._probing):
        await task
    assert rig.channel.answers == [Probed(id=7, ok=True, serving="PEM")]


async def test_leaf_is_given(rig: Rig) -> None:
    """What the parent had signed goes to whoever waits for it."""
    await rig.tell(GaveLeaf(id=7, leaf="PEM"))
    assert rig.desk.answers == [GaveLeaf(id=7, leaf="PEM")]


async def test_leaf_is_given_while_it_drains(rig: Rig) -> None:
    """A call that is in flight gets its leaf; other news are not read any more."""
    rig.channel.news = (UsePolicies(files={}), GaveLeaf(id=7, leaf="PEM"))
    rig.doors.while_closing = 2
    rig.pipeline.refusing = True
    await rig.worker._close(3)
    assert rig.desk.answers == [GaveLeaf(id=7, leaf="PEM")]
    assert (await rig.probed()).ok

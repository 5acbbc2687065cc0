"""Where a worker waits for leaves that the parent has signed, and what the parent answers."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from meshca.app import leaf_desk
from meshca.app.control import Channel, Message
from meshca.app.leaf_desk import LeafDesk, answered, longest, noted
from meshca.app.leaf_messages import AskLeaf, DropLeaf, GaveLeaf, JudgedLeaf
from meshca.authority.outside import LeafWish
from meshca.config.vault import VaultConfig
from meshca.errors import Unavailable
from tests.fakes.clock import FakeClock
from tests.fakes.leaf_signer import FakeLeafSigner
from tests.fakes.logs import captured_logs
from tests.fakes.pki import NOW, WEB, make_ca

WISH = LeafWish(csr="CSR", identity=str(WEB), not_after=NOW, issuer="ab" * 32)
ASKED = AskLeaf(id=1, csr="CSR", identity=str(WEB), not_after=NOW.isoformat(), issuer="ab" * 32)


class FakeChannel:
    """Keeps what is posted."""

    def __init__(self) -> None:
        self.posted: list[Message] = []

    def post(self, *messages: Message) -> None:
        """Keep."""
        self.posted += messages


class Rig:
    """A desk whose parent is the test."""

    def __init__(self, seconds: float = 60.0) -> None:
        self.channel = FakeChannel()
        self.desk = LeafDesk(cast("Channel", self.channel), seconds)

    async def ask(self) -> asyncio.Task[str]:
        """A question that has been posted."""
        task = asyncio.create_task(self.desk.sign(WISH))
        await asyncio.sleep(0)
        return task


async def test_asked_and_given() -> None:
    """Each gets its own answer, whatever the order."""
    rig = Rig()
    first, second = await rig.ask(), await rig.ask()
    assert rig.channel.posted[0] == ASKED
    rig.desk.given(GaveLeaf(id=2, leaf="second"))
    rig.desk.given(GaveLeaf(id=1, leaf="first"))
    assert (await first, await second) == ("first", "second")


async def test_refused() -> None:
    """Why there is none is told in the words of whoever would have signed."""
    rig = Rig()
    asking = await rig.ask()
    rig.desk.given(GaveLeaf(id=1, reason="vault_sealed", detail="unseal it"))
    with pytest.raises(Unavailable, match="unseal it") as caught:
        await asking
    assert caught.value.reason == "vault_sealed"


async def test_nobody_answers() -> None:
    """A parent that hangs holds nobody for ever, and its late answer harms nobody."""
    rig = Rig(seconds=0.01)
    with pytest.raises(Unavailable) as caught:
        await rig.desk.sign(WISH)
    assert caught.value.reason == "leaf_waiting"
    rig.desk.given(GaveLeaf(id=1, leaf="late"))
    assert (rig.desk._asked, rig.channel.posted) == ({}, [ASKED, DropLeaf(id=1)])


async def test_nobody_waits_any_more() -> None:
    """A caller that is gone takes its question back; one that was answered has nothing to take back."""
    rig = Rig()
    gone, served = await rig.ask(), await rig.ask()
    gone.cancel()
    rig.desk.given(GaveLeaf(id=2, leaf="leaf"))
    await asyncio.gather(gone, served, return_exceptions=True)
    assert [one for one in rig.channel.posted if not isinstance(one, AskLeaf)] == [DropLeaf(id=1)]


@pytest.mark.parametrize("timeout", ["500ms", "10s", "1m"])
def test_longer_than_the_signer(timeout: str) -> None:
    """The parent's signer, which may wait twice for the timeout, gives up before the worker does."""
    login, roots = {"token": {"file": "/nowhere"}}, {"accept": "any"}
    config = VaultConfig.model_validate({"kind": "vault", "login": login, "roots": roots, "timeout": timeout})
    assert longest(config) > 2 * config.timeout.total_seconds()


async def test_answered_twice() -> None:
    """The first answer counts."""
    rig = Rig()
    asking = await rig.ask()
    rig.desk.given(GaveLeaf(id=1, leaf="first"))
    rig.desk.given(GaveLeaf(id=1, leaf="again"))
    assert await asking == "first"


async def test_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who would wait too long is refused at once, and nothing is asked for it."""
    monkeypatch.setattr(leaf_desk, "WAITING", 1)
    rig = Rig()
    first = await rig.ask()
    with pytest.raises(Unavailable) as caught:
        await rig.desk.sign(WISH)
    assert (caught.value.reason, len(rig.channel.posted)) == ("leaf_waiting", 1)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    await rig.ask()
    assert [type(one) for one in rig.channel.posted] == [AskLeaf, DropLeaf, AskLeaf]


async def test_the_parent_has_nobody() -> None:
    """Before the upstream is open there is nobody to ask."""
    assert (await answered(ASKED, None)).reason == "no_signer"


async def test_the_parent_is_refused() -> None:
    """Why goes back to the worker."""
    signer = FakeLeafSigner(make_ca("root"), FakeClock())
    signer.error = Unavailable("vault_sealed", "unseal it")
    given = await answered(ASKED, signer)
    assert given == GaveLeaf(id=1, reason="vault_sealed", detail="unseal it")
    assert signer.wishes == [WISH]


async def test_the_parent_fails() -> None:
    """A fault of ours is answered at once, in words that say nothing of it, and logged with its trace."""

    class Broken(FakeLeafSigner):
        async def sign(self, _: LeafWish) -> str:
            raise RuntimeError("secret")

    with captured_logs() as logs:
        given = await answered(ASKED, Broken(make_ca("root"), FakeClock()))
    assert given == GaveLeaf(id=1, reason="internal", detail="the parent has failed; see its log")
    assert [(line["event"], line["exc_info"]) for line in logs] == [("leaf.failed", True)]


@pytest.mark.parametrize("error", [None, Unavailable("leaf_answer", "it is a CA")], ids=["good", "bad"])
def test_judged(error: Unavailable | None) -> None:
    """What a worker finds of a leaf reaches the parent's signer, in the words of the judgement."""
    rig, signer = Rig(), FakeLeafSigner(make_ca("root"), FakeClock())
    rig.desk.judged("web", error)
    (said,) = rig.channel.posted
    assert isinstance(said, JudgedLeaf)
    noted(said, signer)
    assert [(whose, str(found)) for whose, found in signer.verdicts] == [("web", str(error))]


def test_judged_when_nobody_is_left() -> None:
    """A verdict that comes before anybody signs is for nobody."""
    noted(JudgedLeaf(identity="web"), None)

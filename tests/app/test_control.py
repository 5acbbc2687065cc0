"""Facts about the channel between parent and worker."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from meshca.app.control import (
    Channel,
    Configure,
    Drain,
    Failed,
    Message,
    Probe,
    Probed,
    Ready,
    UseAdmission,
    UseAuthority,
    UseOrder,
    UsePolicies,
    decode,
    encode,
)
from meshca.app.leaf_messages import AskLeaf, DropLeaf, GaveLeaf, JudgedLeaf
from meshca.authn.cluster import ClusterState

texts = st.text(st.characters(exclude_categories=["Cs"]))
messages: st.SearchStrategy[Message] = st.one_of(
    st.builds(
        Configure,
        config=texts,
        token_address=texts,
        mtls_address=texts,
        name=texts,
        prefix=st.integers(1, 0x7FFF),
    ),
    st.builds(
        UseAuthority,
        chain=texts,
        roots=texts,
        key=texts,
        serving_chain=texts,
        serving_key=texts,
        withheld=texts,
        chain_roots=texts,
    ),
    st.builds(UseOrder, signers=st.lists(texts).map(tuple), begun_at=texts, window=st.floats(0, 1e6)),
    st.builds(UseAdmission, text=texts, source=texts),
    st.builds(UsePolicies, files=st.dictionaries(texts, texts)),
    st.builds(DropLeaf, id=st.integers(0, 2**31)),
    st.builds(AskLeaf, id=st.integers(0, 2**31), csr=texts, identity=texts, not_after=texts, issuer=texts),
    st.builds(GaveLeaf, id=st.integers(0, 2**31), leaf=texts, reason=texts, detail=texts),
    st.builds(JudgedLeaf, identity=texts, reason=texts, detail=texts),
    st.builds(Probe, id=st.integers(0, 2**31)),
    st.builds(Drain, seconds=st.floats(0, 1000)),
    st.builds(Ready),
    st.builds(Failed, detail=texts),
    st.builds(
        Probed,
        id=st.integers(0, 2**31),
        ok=st.booleans(),
        detail=texts,
        serving=texts,
        clusters=st.lists(
            st.builds(ClusterState, name=texts, secret=texts, followed=st.booleans(), problem=texts), max_size=2
        ).map(tuple),
    ),
)


@given(messages)
def test_round_trip(message: Message) -> None:
    """Every message is one line that reads back as itself."""
    line = encode(message)
    assert decode(line) == message
    assert line.count(b"\n") == 1


def test_keys_do_not_print() -> None:
    """A message that carries key material does not show it."""
    assert "PRIVATE" not in repr(UseAuthority(chain="", roots="", key="PRIVATE", serving_key="PRIVATE"))


async def pair() -> tuple[Channel, Channel]:
    """Two connected ends."""
    ours, theirs = socket.socketpair()
    return await Channel.over(ours), await Channel.over(theirs)


async def test_messages_arrive_in_order_until_the_end() -> None:
    """What one end sends the other reads, and the stream ends when the sender closes."""
    parent, worker = await pair()
    await parent.send(Probe(id=1), Drain(seconds=1.0))
    await parent.close()
    assert [message async for message in worker.messages()] == [Probe(id=1), Drain(seconds=1.0)]
    await worker.close()


async def test_large_message_passes() -> None:
    """A message far over asyncio's own line limit passes."""
    parent, worker = await pair()
    message = UsePolicies(files={"a.yaml": "x" * 1_000_000})
    sending = asyncio.create_task(parent.send(message))
    assert await anext(worker.messages()) == message
    await sending
    await parent.close()
    await worker.close()


async def test_killed_sender_ends_the_stream() -> None:
    """A line that was cut off by the sender's death is not a message."""
    ours, theirs = socket.socketpair()
    worker = await Channel.over(theirs)
    ours.sendall(encode(Ready()) + b'{"kind": "pro')
    ours.close()
    assert [message async for message in worker.messages()] == [Ready()]
    await worker.close()


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_sending_to_a_gone_worker_is_quiet(run: Callable[[Coroutine[Any, Any, None]], None]) -> None:
    """Sending to a worker that has died raises nothing; its reader notices."""

    async def send() -> None:
        parent, worker = await pair()
        await worker.close()
        assert [message async for message in parent.messages()] == []
        for _ in range(3):
            await parent.send(UsePolicies(files={"a": "x" * 100_000}))
        await parent.close()
        await parent.send(Ready())

    run(send())


def test_unknown_kind_is_a_bug() -> None:
    """Both ends run the same code: a kind that nobody sends raises."""
    with pytest.raises(KeyError):
        decode(b'{"kind":"other"}')

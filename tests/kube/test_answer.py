"""Bytes that come in pieces of any size; test_api.py asks a server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshca.errors import Unavailable
from meshca.kube.answer import TooLarge, lines, refuse_detours, whole


async def coming(chunks: Iterable[bytes]) -> AsyncIterator[bytes]:
    """A body in these pieces."""
    for chunk in chunks:
        yield chunk


async def split(chunks: Iterable[bytes], most: int = 1000) -> list[bytes]:
    """All its lines."""
    return [line async for line in lines(coming(chunks), most, "home")]


@given(st.lists(st.binary(max_size=9)))
def test_lines_whatever_the_pieces(chunks: list[bytes]) -> None:
    """The lines are those of the whole; the pieces that it comes in do not matter."""
    assert asyncio.run(split(chunks)) == b"".join(chunks).split(b"\n")[:-1]


@given(st.lists(st.binary(max_size=9)))
def test_whole_whatever_the_pieces(chunks: list[bytes]) -> None:
    """Nothing is lost."""
    assert asyncio.run(whole(coming(chunks), 1000, "home")) == b"".join(chunks)


class Counted(bytes):
    """A piece that counts the bytes of it that are searched."""

    searched = 0

    def split(self, *said: Any) -> list[bytes]:
        """As of bytes."""
        Counted.searched += len(self)
        return super().split(*said)


async def test_work_is_linear(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every byte of a long line is searched once, in the piece in which it came."""
    monkeypatch.setattr(Counted, "searched", 0)
    chunks = [Counted(b"x" * 1000)] * 1000 + [Counted(b"\n")]
    assert await split(chunks, 2_000_000) == [b"x" * 1_000_000]
    assert Counted.searched == 1_000_001


@pytest.mark.parametrize(
    "chunks",
    [[b"x" * 11], [b"x" * 11 + b"\n"], [b"ok\n", b"x" * 6, b"x" * 5], [b"x" * 6, b"x" * 5 + b"\nok\n"]],
    ids=["at the end", "in one piece", "in two", "ended"],
)
async def test_a_long_line(chunks: list[bytes]) -> None:
    """It is refused as soon as it is too long, ended or not."""
    with pytest.raises(TooLarge, match="an event of a watch is larger than 10 bytes"):
        await split(chunks, 10)


async def test_the_longest_line() -> None:
    """What has just as many bytes as it may is taken."""
    assert await split([b"x" * 10 + b"\n"], 10) == [b"x" * 10]


async def test_a_large_body_is_read_no_further() -> None:
    """Once too much has come, no more is asked for."""
    asked = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal asked
        while True:
            asked += 1
            yield b"x" * 10

    with pytest.raises(TooLarge, match="larger than 95 bytes"):
        await whole(endless(), 95, "home")
    assert asked == 10


@pytest.mark.parametrize(
    ("status", "headers"),
    [(300, {}), (301, {}), (399, {}), (200, {"Content-Encoding": "gzip"}), (404, {"Content-Encoding": "br"})],
)
def test_detours(status: int, headers: Mapping[str, str]) -> None:
    """What leads elsewhere or would unfold is refused."""
    with pytest.raises(Unavailable) as caught:
        refuse_detours(status, headers, "home")
    assert caught.value.reason == "kube_answer"


@pytest.mark.parametrize(("status", "headers"), [(200, {}), (404, {}), (200, {"Content-Encoding": "identity"})])
def test_straight(status: int, headers: Mapping[str, str]) -> None:
    """Anything else is for the caller to judge."""
    refuse_detours(status, headers, "home")

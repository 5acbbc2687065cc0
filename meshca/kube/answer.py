"""What an API server sends, read within bounds: it may be a stranger's, and must not cost us more than others do.

Work is linear in what comes, whatever the pieces that it comes in. A body that is too large is refused while it
comes, and one that is compressed or leads elsewhere before it does.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Final

from meshca.errors import Unavailable

_MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How much of one API server is read at once, in bytes.

    Attributes:
        answer: a whole answer, such as a page of a list.
        event: one event of a watch.
    """

    answer: int
    event: int


# etcd takes objects of 1.5 MiB, and Go's JSON writes one byte of `<` as six: an event may have 9 MiB, and whoever
# can write one object must not be able to end a watch. A remote cluster has to see to that itself: of JSON that is
# written for the purpose, Python makes objects of more than thirty times its size.
HOME: Final = Bounds(answer=32 * _MIB, event=12 * _MIB)
REMOTE: Final = Bounds(answer=4 * _MIB, event=4 * _MIB)


class TooLarge(Unavailable):
    """More than we read; of a list, smaller pages may help."""


def refuse_detours(status: int, headers: Mapping[str, str], name: str) -> None:
    """Refuse an answer that leads elsewhere, where our tokens must not go, or that would unfold when it is read.

    Raises:
        Unavailable: reason `kube_answer`.
    """
    if 300 <= status < 400:
        raise Unavailable("kube_answer", f"{name}: answered with a redirect ({status}), which is not followed")
    if headers.get("Content-Encoding", "identity") != "identity":
        raise Unavailable("kube_answer", f"{name}: answered in an encoding that was not asked for")


async def whole(chunks: AsyncIterable[bytes], most: int, name: str) -> bytes:
    """All of a body.

    Raises:
        TooLarge: reason `kube_answer`; it has more than `most` bytes.
    """
    body = bytearray()
    async for chunk in chunks:
        body += chunk
        if len(body) > most:
            raise TooLarge("kube_answer", f"{name}: an answer is larger than {most} bytes")
    return bytes(body)


async def lines(chunks: AsyncIterable[bytes], most: int, name: str) -> AsyncIterator[bytes]:
    """The lines of a body as they come; what follows the last newline is none.

    Raises:
        TooLarge: reason `kube_answer`; one has more than `most` bytes.
    """
    line = bytearray()
    async for chunk in chunks:
        *ends, begun = chunk.split(b"\n")
        for end in ends:
            line += end
            _refuse_long(line, most, name)
            yield bytes(line)
            line = bytearray()
        line += begun
        _refuse_long(line, most, name)


def _refuse_long(line: bytearray, most: int, name: str) -> None:
    if len(line) > most:
        raise TooLarge("kube_answer", f"{name}: an event of a watch is larger than {most} bytes")

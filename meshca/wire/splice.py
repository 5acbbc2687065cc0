"""Passes the bytes of one accepted connection on to another Unix socket, both ways.

No task per connection, no copy beyond what the event loop makes, and no more memory than its write buffers:
while one side cannot write, the other does not read. It must never look at the bytes.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import cast


class Splice:
    """One accepted socket and one of ours, connected to `inner` from a path of its own.

    Args:
        accepted: the outside connection; closed with the splice.
        path: where our client socket is bound; the caller removes the file when `closed` is called.
        closed: called once, when both sides are gone.
    """

    def __init__(self, accepted: socket.socket, path: str, closed: Callable[[], None]) -> None:
        self._accepted = accepted
        self._path = path
        self._closed: Callable[[], None] | None = closed
        self._ours = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self._outside = _End(self)
        self._inside = _End(self)

    async def connect(self, inner: str) -> None:
        """Connect to the inner socket and pass bytes from now on.

        Raises:
            OSError: nobody listens there, or we are out of descriptors; both sockets are closed then.
        """
        loop = asyncio.get_running_loop()
        try:
            self._ours.bind(self._path)
            await loop.sock_connect(self._ours, inner)
            await loop.create_unix_connection(lambda: self._inside, sock=self._ours)
            await loop.connect_accepted_socket(lambda: self._outside, self._accepted)
        except BaseException:
            self.close()
            raise
        if self._inside.transport is None or self._outside.transport is None:
            self.close()  # one side went while the other was being made
            return
        self._inside.join(self._outside)
        self._outside.join(self._inside)
        self.settle()

    def settle(self) -> None:
        """When neither side has more to send, both write what they still have and go."""
        if self._inside.ended and self._outside.ended:
            self.lost()

    def close(self) -> None:
        """Cut both sides at once; doing it again changes nothing."""
        for end, sock in ((self._outside, self._accepted), (self._inside, self._ours)):
            if end.transport is not None:
                end.transport.abort()
            elif not end.owns_socket:
                sock.close()
        self._report()

    def lost(self) -> None:
        """One side is gone: the other writes what it still has, then goes as well."""
        left = [end.transport for end in (self._outside, self._inside) if end.transport is not None]
        for transport in left:
            transport.close()
        if not left:
            self._report()

    def _report(self) -> None:
        closed, self._closed = self._closed, None
        if closed is not None:
            closed()


class _End(asyncio.Protocol):
    """One side: what it reads, the other writes.

    What arrives before the other side is there is kept; reading pauses then, so that it is one buffer at
    most. (Pausing in `connection_made` would do, but uvloop starts to read after it in any case.)
    """

    def __init__(self, splice: Splice) -> None:
        self._splice = splice
        self._other: _End | None = None
        self._early: list[bytes] = []
        self.ended = False  # whether this side sends no more
        self.transport: asyncio.Transport | None = None
        self.owns_socket = False  # whether a transport was made of it, which then closes it

    def join(self, other: _End) -> None:
        """Pass on to `other` from now on, beginning with what is here already."""
        self._other = other
        for data in self._early:
            other.write(data)
        self._early.clear()
        if self.ended:
            other.write_eof()
        self.read(on=True)

    def write(self, data: bytes) -> None:
        """Send, if this side is still there."""
        if self.transport is not None:
            self.transport.write(data)

    def write_eof(self) -> None:
        """Half close, if this side is still there."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write_eof()

    def read(self, *, on: bool) -> None:
        """Read, or pause reading, if this side is still there."""
        if self.transport is None or self.transport.is_closing():
            return
        if on:
            self.transport.resume_reading()
        else:
            self.transport.pause_reading()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The transport is there."""
        self.transport = cast("asyncio.Transport", transport)
        self.owns_socket = True

    def data_received(self, data: bytes) -> None:
        """Pass on."""
        if self._other is not None:
            self._other.write(data)
        else:
            self._early.append(data)
            self.read(on=False)

    def eof_received(self) -> bool:
        """Pass on the half close, and stay open while the other direction is."""
        self.ended = True
        if self._other is not None:
            self._other.write_eof()
        self._splice.settle()
        return True

    def pause_writing(self) -> None:
        """Our peer is slow: the other side waits."""
        if self._other is not None:
            self._other.read(on=False)

    def resume_writing(self) -> None:
        """Our peer has caught up."""
        if self._other is not None:
            self._other.read(on=True)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - why it went makes no difference
        """This side is gone."""
        self.transport = None
        self._splice.lost()

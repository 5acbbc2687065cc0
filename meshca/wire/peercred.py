"""A Unix socket that knows who is at the other end, in front of gRPC, which does not.

Connections are accepted here, their kernel-given credentials checked against an allow-list, and their bytes
passed on to gRPC's own socket in a private folder, from a client socket bound to a path of its own: inside a
handler `context.peer()` is that path. It must never believe anything a peer says about itself, and never pass
on a byte of a peer that is not allowed.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import select
import shutil
import socket
import struct
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

from meshca.clock import Clock
from meshca.errors import Unauthenticated
from meshca.log import log
from meshca.wire import private_folder
from meshca.wire.descriptors import raise_limit
from meshca.wire.splice import Splice
from meshca.wire.unix_socket import check_free, listening

MAX_CONNECTIONS = 256
DESCRIPTORS = 4  # of a connection: both sockets of ours, gRPC's, and a handle of the peer's process
SPARE_DESCRIPTORS = 256  # for everything else that this process has open
_UCRED = struct.Struct("3i")  # struct ucred of unix(7): pid, uid, gid
_SO_PEERPIDFD = 77  # Linux 6.5: a pidfd of the peer itself, so no process can take its place
_NO_ROOM = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
_PAUSE = 0.1  # seconds without accepting when the process is out of file descriptors
_SCHEME = "unix:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Who connected, as the kernel says.

    Attributes:
        pid: process id at the time of connecting; 0 when the process lives in a pid namespace that we do
            not see (two containers of a pod).
        uid: effective user id.
        gid: effective group id.
    """

    pid: int
    uid: int
    gid: int


class _Process:
    """A peer and a handle of its process; the handle is None where there is none to be had."""

    def __init__(self, peer: Peer, pidfd: int | None) -> None:
        self.peer = peer
        self._pidfd = pidfd

    def has_exited(self) -> bool:
        """Whether the process that connected is gone (its socket may live on in another one)."""
        if self._pidfd is None:
            return False
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        return bool(poll.poll(0))

    def close(self) -> None:
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None


class PeerGate:
    """The accepting side; made by `open_gate`.

    Attributes:
        inner_address: where the gRPC server must listen (`add_insecure_port`) before `run` runs.
    """

    def __init__(
        self, listener: socket.socket, private: Path, allowed_uids: frozenset[int], clock: Clock, *, quiet: bool
    ) -> None:
        self._tell = log.debug if quiet else log.info
        self._listener = listener
        self._private = private
        self._inner = str(private / private_folder.INNER)
        self._allowed = allowed_uids
        self._clock = clock
        self._count = 0
        self._most = min(MAX_CONNECTIONS, (raise_limit() - SPARE_DESCRIPTORS) // DESCRIPTORS)
        self._open: dict[str, tuple[_Process, Splice]] = {}
        self.inner_address = _SCHEME + quote(self._inner)

    def peer_of(self, address: str) -> Peer:
        """The peer behind a call.

        Args:
            address: `context.peer()` of the call.

        Raises:
            Unauthenticated: reasons `unknown_peer` (the call did not come through this gate) and `peer_gone`
                (the process that connected has exited; another one holds its socket).
        """
        found = self._open.get(unquote(address.removeprefix(_SCHEME)))
        if found is None:
            raise Unauthenticated("unknown_peer", "the call did not come through the socket that checks peers")
        process, _ = found
        if process.has_exited():
            raise Unauthenticated("peer_gone", "the process that opened the connection has exited")
        return process.peer

    async def run(self) -> None:
        """Accept until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, _ = await loop.sock_accept(self._listener)
            except OSError as error:  # accept(2): out of descriptors or memory, or the client was gone already
                log.warning("peer.accept_failed", error=error.strerror)
                await self._clock.sleep(_PAUSE)
                continue
            try:
                await self._admit(accepted)
            except OSError as error:  # out of descriptors or memory: whoever comes next may find some again
                log.warning("peer.not_admitted", error=error.strerror)
                accepted.close()

    def close(self) -> None:
        """Cut every connection."""
        for _, splice in tuple(self._open.values()):
            splice.close()

    async def _admit(self, accepted: socket.socket) -> None:
        peer = _credentials(accepted)
        if (objection := self._objection(peer)) is not None:
            log.warning("peer.refused", reason=objection, pid=peer.pid, uid=peer.uid)
            accepted.close()
            return
        try:
            process = _Process(peer, _pidfd(accepted, peer))
        except ProcessLookupError:
            log.info("peer.refused", reason="exited", pid=peer.pid, uid=peer.uid)
            accepted.close()
            return
        await self._pass_on(accepted, process)

    async def _pass_on(self, accepted: socket.socket, process: _Process) -> None:
        self._count += 1
        path = str(self._private / f"conn-{self._count}")
        try:
            splice = Splice(accepted, path, lambda: self._forget(path))
        except OSError:
            process.close()
            raise
        self._open[path] = (process, splice)
        try:
            await splice.connect(self._inner)
        except OSError as error:  # gRPC does not listen (any more), or we are out of descriptors
            log.warning("peer.not_connected", pid=process.peer.pid, uid=process.peer.uid, error=error.strerror)
        else:
            self._tell("peer.connected", pid=process.peer.pid, uid=process.peer.uid)

    def _objection(self, peer: Peer) -> str | None:
        if peer.uid not in self._allowed:
            return "uid"
        return "too_many_connections" if len(self._open) >= self._most else None

    def _forget(self, path: str) -> None:
        process, _ = self._open.pop(path)
        process.close()
        Path(path).unlink(missing_ok=True)


@contextlib.asynccontextmanager
async def open_gate(
    path: Path, *, allowed_uids: Collection[int], clock: Clock, mode: int = 0o660, quiet: bool = False
) -> AsyncIterator[PeerGate]:
    """Listen on a public socket; connections wait until `PeerGate.run` runs.

    Use: start the gRPC server on `gate.inner_address`, then run `gate.run()` in a task group. Everything on
    disk is removed at the end, and at the start what killed processes left beside it. A stale socket file is
    replaced, atomically; a live one is not touched.

    Args:
        path: the public socket; a private folder (0700) is made beside it.
        allowed_uids: user ids that may connect; the empty list lets nobody in.
        clock: for pauses.
        mode: permissions of the public socket.
        quiet: whether connections of allowed users are logged at debug only.

    Raises:
        ConfigError: the path is in use, too long, or cannot be bound.
    """
    check_free(path)
    private = private_folder.make(path)
    try:
        with listening(path, private, mode=mode, backlog=MAX_CONNECTIONS) as listener:
            private_folder.sweep(path.parent)
            gate = PeerGate(listener, private, frozenset(allowed_uids), clock, quiet=quiet)
            try:
                yield gate
            finally:
                gate.close()
    finally:
        shutil.rmtree(private)


def _credentials(accepted: socket.socket) -> Peer:
    pid, uid, gid = _UCRED.unpack(accepted.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return Peer(pid=pid, uid=uid, gid=gid)


def _pidfd(accepted: socket.socket, peer: Peer) -> int | None:
    """A handle of the peer's process, None where there is none (foreign pid namespace, old kernel).

    Raises:
        ProcessLookupError: the process has ended.
        OSError: there is one, but no room for it: without it nobody would notice that the process has ended.
    """
    if peer.pid == 0:
        return None
    try:
        return accepted.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD)
    except OSError as error:
        if error.errno == errno.ESRCH:
            raise ProcessLookupError from error
        if error.errno in _NO_ROOM:
            raise
    try:
        return os.pidfd_open(peer.pid)
    except OSError as error:
        if error.errno == errno.ESRCH or error.errno in _NO_ROOM:
            raise
        log.debug("peer.no_pidfd", pid=peer.pid, error=error.strerror)
        return None

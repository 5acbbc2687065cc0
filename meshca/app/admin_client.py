"""What the command line asks a running server through its administrator's socket.

Every way in which that can fail is told in words that say what to do.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import grpc

from meshca._proto.meshca.admin.v1 import admin_pb2
from meshca._proto.meshca.admin.v1.admin_pb2_grpc import AdminStub
from meshca.app.admin_answer import DEADLINE_SECONDS, answer, closed, explained
from meshca.app.root_client import RootClient
from meshca.errors import Unavailable
from meshca.ledger.query import Query
from meshca.ledger.record import Issuance
from meshca.rpc.admin_messages import issuance_of, query_message
from meshca.rpc.status_messages import MAX_ANSWER_BYTES, status_of
from meshca.rpc.status_report import StatusReport

_CONNECT_SECONDS: Final = 5.0
# How a client of HTTP/2 begins: its preface and empty SETTINGS (RFC 9113 sections 3.4 and 6.5).
_GREETING: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
_REASON: Final = "admin_socket"


class AdminClient:
    """`meshca.admin.v1.Admin` as values; made by `connect`.

    Attributes:
        roots: `meshca.admin.v1.Roots`.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub: Any = AdminStub(channel)  # the generated stub knows synchronous channels only
        self.roots = RootClient(channel)

    async def status(self) -> StatusReport:
        """How the server is.

        Raises:
            Unavailable: the server cannot answer, or not to this user.
        """
        request = admin_pb2.GetStatusRequest()
        return status_of(await answer(self._stub.GetStatus(request, timeout=DEADLINE_SECONDS)))

    async def issuances(self, query: Query) -> list[Issuance]:
        """Ledger records, newest first.

        Raises:
            BadRequest: a filter is wrong.
            Unavailable: the server cannot answer, or not to this user.
        """
        with explained():
            call = self._stub.ListIssuances(query_message(query), timeout=DEADLINE_SECONDS)
            return [issuance_of(message) async for message in call]

    async def issuance(self, serial: str) -> Issuance:
        """The record of a serial number.

        Raises:
            NotFound: there is none.
            Unavailable: the server cannot answer, or not to this user.
        """
        request = admin_pb2.GetIssuanceRequest(serial=serial)
        return issuance_of(await answer(self._stub.GetIssuance(request, timeout=DEADLINE_SECONDS)))


@contextlib.asynccontextmanager
async def connect(path: Path) -> AsyncIterator[AdminClient]:
    """A client of the server that listens on a socket.

    Raises:
        Unavailable: reason `admin_socket`, nobody listens there or this user may not connect.
    """
    await _knock(path)
    # The default authority of a unix socket is its path, which HTTP/2 servers may refuse.
    options = (
        ("grpc.default_authority", "localhost"),
        ("grpc.enable_retries", 0),
        ("grpc.max_receive_message_length", MAX_ANSWER_BYTES),
    )
    async with grpc.aio.insecure_channel(f"unix:{quote(str(path))}", options=options) as channel:
        yield AdminClient(channel)


async def _knock(path: Path) -> None:
    """Connect once without gRPC, which would only say "unavailable", and begin HTTP/2 as it would."""
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            answered = await _greeted(path)
    except FileNotFoundError:
        problem = (
            f"there is no socket at {path}; start `meshca serve`, or name the socket of the running one "
            "with --socket, MESHCA_ADMIN_SOCKET or its --config"
        )
        raise Unavailable(_REASON, problem) from None
    except ConnectionRefusedError:
        problem = f"nobody listens at {path} any more; start `meshca serve` again"
        raise Unavailable(_REASON, problem) from None
    except PermissionError:
        problem = f"this user ({os.geteuid()}) may not open {path}; run this as the server's user"
        raise Unavailable(_REASON, problem) from None
    except TimeoutError:
        problem = f"the server at {path} does not answer; look at /livez and its log, or restart it"
        raise Unavailable(_REASON, problem) from None
    except OSError as error:
        raise Unavailable(_REASON, f"cannot connect to {path} ({error.strerror or error})") from None
    if not answered:
        raise closed()


async def _greeted(path: Path) -> bool:
    """Whether somebody answered; the gate closes the connection of a user who may not use it."""
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        writer.write(_GREETING)
        return bool(await reader.read(1))
    except (ConnectionResetError, BrokenPipeError):
        return False
    finally:
        writer.close()

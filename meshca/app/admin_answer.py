"""Waits for what a server answers its administrator, and puts every failure into words that say what to do."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Awaitable, Iterator
from typing import Final, TypeVar

import grpc

from meshca.errors import BadRequest, Conflict, Denied, MeshcaError, NotFound, Refused, Unavailable
from meshca.wire.status import DETAIL, REASON, REQUEST_ID

DEADLINE_SECONDS: Final = 30.0  # a query may read a large ledger
SOCKET: Final = "admin_socket"  # the reason when nobody can be asked
# What a server says when it did understand, and did not do it.
_SAID: Final[dict[grpc.StatusCode, type[NotFound | Refused | Conflict | Denied]]] = {
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.FAILED_PRECONDITION: Refused,
    grpc.StatusCode.ABORTED: Conflict,
    grpc.StatusCode.PERMISSION_DENIED: Denied,
}

T = TypeVar("T")


async def answer(call: Awaitable[T]) -> T:
    """What a call answers.

    Raises:
        MeshcaError: as `explained`.
    """
    with explained():
        return await call


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Turn a gRPC status into an error of ours.

    Raises:
        NotFound, Refused, Conflict, Denied: as the server raised them, with its detail.
        BadRequest: the request is wrong.
        Unavailable: it does not answer, is ending, or something else failed.
    """
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise _error_of(error) from None


def closed() -> Unavailable:
    """The server has closed the connection without a word."""
    problem = (
        f"the server closed the connection; it is ending, or this user ({os.geteuid()}) may not use "
        "its socket: run this as the server's user, or list the user in admin.uids or admin.roles"
    )
    return Unavailable(SOCKET, problem)


def _error_of(error: grpc.aio.AioRpcError) -> MeshcaError:
    told = dict(error.trailing_metadata() or ())
    code, said = error.code(), error.details() or error.code().name
    reason = told.get(REASON)
    if reason is None and code is grpc.StatusCode.UNAVAILABLE:
        return closed()
    if code is grpc.StatusCode.INVALID_ARGUMENT:
        return BadRequest(_text(reason), said)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return Unavailable("deadline", f"the server did not answer within {DEADLINE_SECONDS:.0f} s")
    cause = told.get(DETAIL)
    if isinstance(cause, bytes):  # of a server to which we are administrators
        said = cause.decode(errors="replace")
    if code in _SAID:
        return _SAID[code](_text(reason), said)
    request = _text(told.get(REQUEST_ID))
    return Unavailable(_text(reason), f"the server answered: {said}; its log says more under {request}")


def _text(value: str | bytes | None) -> str:
    return value if isinstance(value, str) else "unknown"

"""Every way in which a server answers that it did not do it, as an error of ours that says what to do."""

from __future__ import annotations

import grpc
import pytest
from grpc.aio import AioRpcError, Metadata

from meshca.app.admin_answer import answer, explained
from meshca.errors import BadRequest, Conflict, Denied, MeshcaError, NotFound, Refused, Unavailable
from meshca.wire.status import DETAIL, REASON, REQUEST_ID

NONE = Metadata()


def told(code: grpc.StatusCode, said: str | None, *trailers: tuple[str, str | bytes]) -> MeshcaError:
    """What a status becomes."""
    with pytest.raises(MeshcaError) as caught, explained():
        raise AioRpcError(code, NONE, Metadata(*trailers), said)
    return caught.value


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.NOT_FOUND, NotFound),
        (grpc.StatusCode.FAILED_PRECONDITION, Refused),
        (grpc.StatusCode.ABORTED, Conflict),
        (grpc.StatusCode.PERMISSION_DENIED, Denied),
    ],
)
def test_what_the_server_raised_is_raised_here(code: grpc.StatusCode, kind: type[MeshcaError]) -> None:
    """With its reason, and its detail when it is told."""
    error = told(code, "sentence", (REASON, "why"), (DETAIL, "détail".encode()))
    assert (type(error), error.reason, error.detail) == (kind, "why", "détail")
    assert told(code, "sentence", (REASON, "why")).detail == "sentence"


def test_a_wrong_request_says_what_is_wrong() -> None:
    """Its sentence does."""
    error = told(grpc.StatusCode.INVALID_ARGUMENT, "sentence: detail", (REASON, "root"))
    assert (type(error), error.detail) == (BadRequest, "sentence: detail")


def test_a_server_that_closes_says_nothing() -> None:
    """It is ending, or does not know this user."""
    error = told(grpc.StatusCode.UNAVAILABLE, "Socket closed")
    assert (error.reason, "admin.roles" in error.detail) == ("admin_socket", True)


def test_a_server_that_is_slow() -> None:
    """Is not waited for without end."""
    assert "did not answer within" in told(grpc.StatusCode.DEADLINE_EXCEEDED, "x").detail


@pytest.mark.parametrize(("said", "shown"), [("sentence", "sentence"), (None, "INTERNAL")])
def test_everything_else_names_the_place_in_the_log(said: str | None, shown: str) -> None:
    """By the id of the call."""
    error = told(grpc.StatusCode.INTERNAL, said, (REQUEST_ID, "ab12"))
    assert isinstance(error, Unavailable)
    assert (error.reason, error.detail) == (
        "unknown",
        f"the server answered: {shown}; its log says more under ab12",
    )


async def test_an_answer_is_given_as_it_is() -> None:
    """When there is one."""

    async def call() -> int:
        return 7

    assert await answer(call()) == 7

"""Calls to the service for roots: who makes them, which root signs, and how one is refused."""

from __future__ import annotations

import os
from typing import Any

import grpc
import pytest

from meshca.wire.status import DETAIL, REASON
from tests.fakes.root_commands import FakeRootCommands

OWN = os.geteuid()
ME = f"uid {OWN}"


def active(commands: FakeRootCommands) -> str:
    """The id of the root that signs."""
    found = commands.state.active_root
    assert found is not None
    return found.id


async def refusal(call: Any) -> tuple[grpc.StatusCode, object, object]:
    """Code, reason and detail of a call that fails."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    told = dict(caught.value.trailing_metadata() or ())
    return caught.value.code(), told.get(REASON), told.get(DETAIL)

"""A machine for the whole agent, and the scene of the relay's tests; a file with another scene makes its own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from meshca.clock import SystemClock
from tests.agent.relay_scene import Scene
from tests.fakes.agent_machine import Machine, running_machine
from tests.fakes.agent_values import svid_of
from tests.fakes.ca import FakeCa, serving_ca
from tests.fakes.control_plane import ControlPlane


@pytest.fixture
async def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    """A relay that runs, with a certificate; system roots vouch for the channel."""
    plane = ControlPlane()
    async with serving_ca(FakeCa(SystemClock()), plane.add_to) as serving:
        made = Scene(tmp_path, serving, plane)
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "root.pem"))
        running = asyncio.create_task(made.relay.run())
        made.holding.take_svid(svid_of(made.ca))
        try:
            yield made
        finally:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Machine]:
    """A CA that serves."""
    async with running_machine(tmp_path) as made:
        yield made

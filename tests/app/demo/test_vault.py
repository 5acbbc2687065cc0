"""What the demo refuses to go on with; what it shows is walked by the demo's own test."""

from __future__ import annotations

from dataclasses import replace

import pytest

from meshca.app.demo.vault import reaches, says
from meshca.authority.lifecycle import State
from meshca.errors import Unavailable
from tests.fakes.admin_client import FakeAdminClient
from tests.fakes.hurried_clock import HurriedClock
from tests.fakes.roots import NEW, OLD, intermediate, root


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> FakeAdminClient:
    """A running CA."""
    fake = FakeAdminClient()
    monkeypatch.setattr("meshca.app.demo.vault.connect", fake.connect)
    return fake


async def test_what_the_ca_says_of_vault(server: FakeAdminClient) -> None:
    """It is given once it is as expected."""
    sealed = replace(server.report.upstream, fault="sealed")
    server.report = replace(server.report, upstream=sealed)
    assert await says("/admin", "sealed", HurriedClock()) == sealed


async def test_a_ca_that_does_not_notice(server: FakeAdminClient) -> None:
    """Named with what it says instead."""
    with pytest.raises(Unavailable, match="the CA says of Vault ``, expected `sealed`") as raised:
        await says("/admin", "sealed", HurriedClock())
    assert raised.value.reason == "demo_vault"


async def test_how_the_roots_stand(server: FakeAdminClient) -> None:
    """Of roots alone."""
    server.roots.kept = [root(OLD, State.RETIRING), intermediate("i", OLD), root(NEW)]
    await reaches("/admin", (State.RETIRING, State.ACTIVE), HurriedClock())


async def test_a_ca_that_does_not_follow(server: FakeAdminClient) -> None:
    """Named with how the roots stand instead."""
    server.roots.kept = [root(OLD)]
    wanted = (State.ACTIVE, State.DISTRIBUTING)
    with pytest.raises(Unavailable, match="the roots are active, expected active, distributing") as raised:
        await reaches("/admin", wanted, HurriedClock())
    assert raised.value.reason == "demo_vault"

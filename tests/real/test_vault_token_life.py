"""Tokens of seconds at a real OpenBao: none is ever missed.

What is asked how often is counted by a fake clock in tests/upstream/vault/test_session.py.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from meshca import metrics
from meshca.app.openbao_process import OpenBao
from meshca.background import running
from meshca.clock import Clock, SystemClock
from meshca.errors import Unavailable
from meshca.upstream.vault.faults import Fault, fault_of
from meshca.upstream.vault.opening import Reached, reach
from tests.fakes.clock import FakeClock
from tests.fakes.logs import captured_logs
from tests.real.openbao import Mount, new_mount, own_openbao, vault_config

pytestmark = pytest.mark.real("openbao")
CLOCK = SystemClock()
WHO = "auth/token/lookup-self"


@contextlib.asynccontextmanager
async def reached(server: OpenBao, folder: Path, **token: Any) -> AsyncIterator[Reached]:
    """A way by an AppRole whose tokens are so, which are kept fresh beside the block."""
    mount = await new_mount(server, token=token)
    async with (
        reach(vault_config(server, mount, folder), environ={}, clock=CLOCK) as way,
        running("token", way.session.run, CLOCK),
    ):
        yield way


async def lasting(server: OpenBao, mount: Mount) -> None:
    """Let the tokens of later logins last, however slow the machine is."""
    await server.call("POST", f"auth/approle/role/{mount.path}", {"token_ttl": "1h"})


def counted(fault: Fault) -> float:
    """So often until now."""
    return float(metrics.vault_faults.labels(fault.value)._value.get())


async def accessor(way: Reached) -> str:
    """What the server calls the token that we have."""
    return (await way.session.call("get", WHO)).data.text("accessor")


async def test_renewed(openbao: OpenBao, tmp_path: Path) -> None:
    """A token is still the same when two of its lives are over and nobody has called."""
    async with reached(openbao, tmp_path, token_ttl="6s") as way:
        before = await accessor(way)
        await CLOCK.sleep(13)
        assert await accessor(way) == before


@pytest.mark.parametrize(
    "token",
    [{"token_ttl": "3s", "token_type": "batch"}, {"token_ttl": "3s", "token_max_ttl": "7s"}],
    ids=["batch", "max_ttl"],
)
async def test_replaced(openbao: OpenBao, tmp_path: Path, token: dict[str, str]) -> None:
    """A token that cannot be renewed, or not for long, is replaced before it is over: no call is ever refused."""
    with captured_logs() as logs:
        async with reached(openbao, tmp_path, **token) as way:
            for _ in range(30):
                await way.session.call("get", WHO)
                await CLOCK.sleep(0.5)
    events = [entry["event"] for entry in logs]
    assert events.count("vault.logged_in") > 2
    assert "vault.token" not in events


async def test_revoked(openbao: OpenBao, tmp_path: Path) -> None:
    """Calls whose token was revoked, several at once, succeed by one login."""
    async with reached(openbao, tmp_path) as way:
        await openbao.call("POST", "auth/token/revoke-accessor", {"accessor": await accessor(way)})
        with captured_logs() as logs:
            after = await asyncio.gather(*(accessor(way) for _ in range(5)))
        assert len(set(after)) == 1
        assert [entry["event"] for entry in logs] == ["vault.logged_in"]


@pytest.mark.parametrize(("clock", "refused"), [(CLOCK, 0), (FakeClock(), 1)], ids=["by ours", "by theirs alone"])
async def test_over(openbao: OpenBao, tmp_path: Path, clock: Clock, refused: int) -> None:
    """A token that is over is replaced by one login; where only the server knows it, after one refusal."""
    mount = await new_mount(openbao, token={"token_ttl": "1s"})
    async with reach(vault_config(openbao, mount, tmp_path), environ={}, clock=clock) as way:
        before = await accessor(way)
        await lasting(openbao, mount)
        await CLOCK.sleep(1.1)
        refusals = counted(Fault.FORBIDDEN)
        with captured_logs() as logs:
            assert await accessor(way) != before
        assert [entry["event"] for entry in logs] == ["vault.logged_in"]
        assert counted(Fault.FORBIDDEN) == refusals + refused


async def test_outage_longer_than_the_token(tmp_path: Path) -> None:
    """A token that ended while the server was sealed is replaced by one login."""
    clock = FakeClock()
    async with own_openbao(tmp_path / "bao") as server:
        mount = await new_mount(server, token={"token_ttl": "1s"})
        async with reach(vault_config(server, mount, tmp_path), environ={}, clock=clock) as way:
            before = await accessor(way)
            await lasting(server, mount)
            await server.seal()
            await CLOCK.sleep(1.1)
            with pytest.raises(Unavailable) as away:
                await accessor(way)
            assert fault_of(away.value) is Fault.SEALED
            await server.unseal()
            clock.move(60)  # beyond every pause, and beyond the token
            with captured_logs() as logs:
                assert await accessor(way) != before
    assert [entry["event"] for entry in logs] == ["vault.logged_in"]


async def test_refused_by_policy(openbao: OpenBao, tmp_path: Path) -> None:
    """What our policy does not allow is told as that; once it does, the same session may."""
    mount = await new_mount(openbao, token={"token_policies": []})
    path = f"{mount.path}/issuer/default/sign-intermediate"
    async with reach(vault_config(openbao, mount, tmp_path), environ={}, clock=CLOCK) as way:
        with pytest.raises(Unavailable) as refused:
            await way.session.call("post", path, {})
        assert fault_of(refused.value) is Fault.FORBIDDEN
        await openbao.call("POST", f"auth/approle/role/{mount.path}", {"token_policies": [mount.path]})
        await CLOCK.sleep(2.1)  # the longest first pause after a refusal
        with pytest.raises(Unavailable) as wrong:
            await way.session.call("post", path, {})
        assert fault_of(wrong.value) is Fault.BAD_REQUEST  # there was no request in it: we may ask now

"""Vault goes away and comes back below a real server under load: issuing goes on, and nothing is restarted."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from tests.e2e.rotation.live_ca import LiveCa, live_ca, stopped, until
from tests.e2e.vault.below import another_signer, fault, faults, issuing, kept, second_root, settings, signer
from tests.real.openbao import OpenBao, free_pair, new_mount, own_openbao

pytestmark = pytest.mark.real("openbao")
SHORT = {"intermediate_lifetime": "70s"}  # the shortest that is taken has a minute; the next is due at half of it
Act = Callable[[OpenBao], Awaitable[None]]
METRIC = "meshca_upstream_autonomy_seconds"


@pytest.fixture
async def vault(place: Path) -> AsyncIterator[OpenBao]:
    """A server of this test's own."""
    async with own_openbao(place / "bao") as server:
        yield server


async def restart(vault: OpenBao) -> None:
    """As after a power failure: it starts sealed."""
    await vault.start()
    await vault.unseal()


def warned(ca: LiveCa) -> bool:
    """Whether the log tells of the end of what signs."""
    return any(line["event"] == "signer.ending" for line in ca.server.log())


def ready(ca: LiveCa) -> bool:
    """What a probe is told."""
    return ca.server.http("/readyz")[0] == 200


def logins(ca: LiveCa) -> int:
    """How often the log tells of a login."""
    return [line["event"] for line in ca.server.log()].count("vault.logged_in")


@pytest.mark.parametrize(
    ("away", "back", "slug"),
    [(OpenBao.kill, restart, "unreachable"), (OpenBao.seal, OpenBao.unseal, "sealed")],
    ids=["killed", "sealed"],
)
async def test_longer_than_a_renewal_period(vault: OpenBao, place: Path, away: Act, back: Act, slug: str) -> None:
    """From the first half of an intermediate's life into its second: warned, ready, and no call is refused."""
    mount = await new_mount(vault)
    async with live_ca(place, settings(vault, mount, place, **SHORT)) as ca:
        first = await signer(ca)
        async with issuing(ca) as load:
            await away(vault)
            await fault(ca, slug)
            assert ca.server.metric(METRIC) > 35  # the next is not due yet
            await until(lambda: warned(ca), "nobody is warned")
            assert 0 < ca.server.metric(METRIC) < 36
            assert ready(ca)
            assert await signer(ca) == first
            await load.goes_on()
            await back(vault)
            await another_signer(ca, first)
            await fault(ca, "")
            await load.goes_on()
            await until(lambda: ca.server.metric(METRIC) > 36, "the metric does not follow")
        assert faults(ca, slug) > 0


async def test_start_with_what_is_kept(vault: OpenBao, place: Path) -> None:
    """Vault is down: the intermediate of before signs at once, and no second is made when Vault is back."""
    mount = await new_mount(vault)
    async with live_ca(place, settings(vault, mount, place)) as ca:
        first = await signer(ca)
        await ca.kill()
        await vault.kill()
        await ca.start()
        assert ready(ca)
        async with issuing(ca) as load:
            await fault(ca, "unreachable")
            await restart(vault)
            await fault(ca, "")
            await load.goes_on()
        assert await signer(ca) == first


async def test_start_with_nothing(vault: OpenBao, place: Path) -> None:
    """Vault is down: not ready, for a reason that is told, and ready by itself once Vault is there."""
    mount = await new_mount(vault)
    await vault.seal()
    address = f"127.0.0.1:{free_pair()}"
    ca = LiveCa(place / "ca", {**settings(vault, mount, place), "MESHCA__LISTEN__HTTP": address})
    try:
        await ca.launch()
        await fault(ca, "sealed")
        (ca.folder / "endpoint-http").write_text(address)  # what is announced once it serves
        status, body = ca.server.http("/readyz")
        assert status == 503
        assert re.fullmatch(r"the server is sealed .*; unseal it", json.loads(body)["waits_for"])
        assert [line["reason"] for line in ca.server.logged("signer.refused")] == ["vault_sealed"]
        await vault.unseal()
        await asyncio.to_thread(ca.server.wait_until_it_serves)
        async with issuing(ca) as load:
            await load.goes_on()
    finally:
        await ca.stop()


async def test_policy_is_taken_away(vault: OpenBao, place: Path) -> None:
    """What is due is refused, and said so; what signs goes on, and the next is had once the policy is back."""
    mount = await new_mount(vault)
    policy = f"sys/policies/acl/{mount.path}"
    granted = (await vault.call("GET", policy))["data"]["policy"]
    async with live_ca(place, settings(vault, mount, place)) as ca, issuing(ca) as load:
        await vault.call("PUT", policy, {"policy": 'path "none" { capabilities = ["read"] }'})
        await second_root(vault, mount, place)
        await fault(ca, "forbidden")
        assert faults(ca, "forbidden") > 0
        await load.goes_on()
        await vault.call("PUT", policy, {"policy": granted})
        await fault(ca, "")
        assert kept(ca) == 2


async def test_token_is_revoked(vault: OpenBao, place: Path) -> None:
    """One refused call, one login, and what is due is signed: nobody notices but the metric."""
    mount = await new_mount(vault)
    async with live_ca(place, settings(vault, mount, place)) as ca, issuing(ca) as load:
        await vault.call("PUT", "sys/leases/revoke-prefix/auth/approle/login", {"sync": True})
        await second_root(vault, mount, place)
        await until(lambda: kept(ca) == 2, "nothing is signed below the second root")
        await load.goes_on()
        await until(lambda: logins(ca) > 1, "nobody logs in again")  # a line is written a moment later
        assert (faults(ca, "forbidden"), logins(ca)) == (1, 2)


async def test_quota(vault: OpenBao, place: Path) -> None:
    """A rate limit of the server's is told, waited for and hurts nobody."""
    mount = await new_mount(vault)
    async with live_ca(place, settings(vault, mount, place)) as ca, issuing(ca) as load:
        quota = {"path": mount.path, "rate": 1, "interval": "10s"}  # no longer does it tell us to wait
        await vault.call("POST", "sys/quotas/rate-limit/ours", quota)
        await fault(ca, "rate_limited")
        assert faults(ca, "rate_limited") > 0
        await load.goes_on()
        await vault.call("DELETE", "sys/quotas/rate-limit/ours")
        await fault(ca, "")


async def test_hung(vault: OpenBao, place: Path) -> None:
    """A server that takes calls and never answers: told, waited for, and no reason not to end in peace."""
    mount = await new_mount(vault)
    async with live_ca(place, settings(vault, mount, place, timeout="500ms")) as ca:
        async with issuing(ca) as load:
            with stopped(vault.pid):
                await fault(ca, "timeout")
                assert ready(ca)
                await load.goes_on()
            await fault(ca, "")
        with stopped(vault.pid):
            await fault(ca, "timeout")
            assert await asyncio.to_thread(ca.server.stop) == 0

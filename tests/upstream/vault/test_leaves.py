"""Leaves by a role: what is sent, what each answer means, and that an outage is no storm of calls."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiohttp import web

from meshca import csr, metrics
from meshca.authority.outside import LeafSource, LeafWish, name_and_key
from meshca.errors import Unavailable
from meshca.identity.key_type import KeyType
from meshca.upstream.vault.client import Lanes
from meshca.upstream.vault.leaves import AT_ONCE, HANGS
from meshca.upstream.vault.opening import open_
from meshca.upstream.vault.patience import OUTAGE
from tests.fakes.clock import FakeClock
from tests.fakes.logs import captured_logs
from tests.fakes.pki import TRUST_DOMAIN, WEB
from tests.fakes.vault_replies import Reply, as_json, dripping, hanging, redirecting, refusing, saying
from tests.fakes.vault_server import FakeVault, serving_vault

END = datetime(2026, 1, 1, 1, tzinfo=UTC)
CSR = csr.request(csr.fresh_key(KeyType.EC_P256)[0])
PATH = "pki/issuer/id-one/sign/mesh-leaf"


class Rig:
    """A stand-in for Vault, and leaves by it."""

    def __init__(self, vault: FakeVault, leaves: LeafSource, clock: FakeClock) -> None:
        self.vault = vault
        self.leaves = leaves
        self.clock = clock

    async def sign(self, issuer: str = "", identity: str = str(WEB)) -> str:
        """One leaf, given on."""
        named = issuer or name_and_key(self.vault.pki.root.certificate)
        leaf = await self.leaves.sign(LeafWish(csr=CSR, identity=identity, not_after=END, issuer=named))
        self.leaves.judged(identity, None)
        return leaf

    async def refused(self, issuer: str = "", identity: str = str(WEB)) -> str:
        """Why there is none."""
        with pytest.raises(Unavailable) as caught:
            await self.sign(issuer, identity)
        return caught.value.reason

    async def given_up(self, seconds: float) -> None:
        """A leaf that nobody waits for any more after this time without an answer."""
        before = self.asked
        signing = asyncio.create_task(self.sign())
        while self.asked == before:  # noqa: ASYNC110 - a count
            await asyncio.sleep(0.01)
        self.clock.move(seconds)
        signing.cancel()
        await asyncio.gather(signing, return_exceptions=True)

    @property
    def problem(self) -> str:
        """Why the last leaf was not given on; empty when it was."""
        error = self.leaves.problem
        return "" if error is None else error.reason

    @property
    def asked(self) -> int:
        """How many leaves were asked for."""
        return self.vault.paths().count(PATH)


@contextlib.asynccontextmanager
async def opened(folder: Path, within: str = "10s") -> AsyncIterator[Rig]:
    """After the first look at the mount."""
    clock = FakeClock()
    async with serving_vault(now=clock.now) as vault:
        config = vault.config(folder, sign_leaves={"role": "mesh-leaf"}, timeout=within)
        async with open_(config, data_dir=folder, environ={}, trust_domain=TRUST_DOMAIN, clock=clock) as upstream:
            assert upstream.leaves is not None
            await upstream.lines()
            yield Rig(vault, upstream.leaves, clock)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    """Of ten seconds."""
    async with opened(tmp_path) as made:
        yield made


async def test_what_is_sent(rig: Rig) -> None:
    """The issuer by its id, so that another default is no other signer; one URI, and the end by our clock."""
    await rig.sign()
    (body,) = [call.body for call in rig.vault.calls if call.path == PATH]
    assert body == {
        "csr": CSR,
        "uri_sans": str(WEB),
        "exclude_cn_from_sans": True,
        "not_after": "2026-01-01T01:00:00Z",
        "format": "pem",
    }


async def test_over_before_it_is_asked_for(rig: Rig) -> None:
    """What has ended when its turn comes is not asked for: that refuses only whoever wanted so little."""
    rig.clock.move((END - rig.clock.now()).total_seconds())
    assert (await rig.refused(), rig.asked, rig.problem) == ("leaf_late", 0, "")


async def test_not_configured(tmp_path: Path) -> None:
    """By default nobody signs leaves in our place."""
    async with serving_vault() as vault:
        config = vault.config(tmp_path)
        opening = open_(config, data_dir=tmp_path, environ={}, trust_domain=TRUST_DOMAIN, clock=FakeClock())
        async with opening as upstream:
            assert upstream.leaves is None


@pytest.mark.parametrize("look", [None, refusing(503, "Vault is sealed")], ids=["no look", "sealed"])
async def test_not_seen_yet(tmp_path: Path, look: Reply | None) -> None:
    """Until a look has seen the mount nobody knows who would sign, and why it has not is told."""
    async with serving_vault() as vault:
        config = vault.config(tmp_path, sign_leaves={"role": "mesh-leaf"})
        opening = open_(config, data_dir=tmp_path, environ={}, trust_domain=TRUST_DOMAIN, clock=FakeClock())
        async with opening as upstream:
            assert upstream.leaves is not None
            rig, reason = Rig(vault, upstream.leaves, FakeClock()), "vault_unreachable"
            if look is not None:
                vault.at("pki/issuers", look)
                reason = "vault_sealed"
                with pytest.raises(Unavailable, match=reason):
                    await upstream.lines()
            assert (await rig.refused(), rig.problem, rig.asked) == (reason, reason, 0)


async def test_an_issuer_of_somebody_else(rig: Rig) -> None:
    """Below a root that is not in the mount, such as one from before a move, nothing is asked."""
    assert await rig.refused("ab" * 32) == "vault_issuer"
    assert (rig.asked, rig.problem) == (0, "vault_issuer")


PASSING = [
    (refusing(503, "Vault is sealed"), "vault_sealed"),
    (refusing(473), "vault_standby"),
    (refusing(429), "vault_rate_limited"),
    (refusing(500, "internal error"), "vault_server_error"),
    (refusing(412), "vault_stale"),
    (redirecting("http://127.0.0.1:1/v1/gone"), "vault_redirected"),
]
STANDING = [
    (refusing(400, "unknown role: mesh-leaf"), "vault_role"),
    (refusing(403, "permission denied"), "vault_forbidden"),
    (refusing(404, "no handler for route"), "vault_mount"),
    (saying(b"<html>"), "vault_not_vault"),
    (saying({"data": {}}), "vault_answer"),
]


@pytest.mark.parametrize(("reply", "reason"), PASSING, ids=lambda one: one if isinstance(one, str) else "")
async def test_an_outage(rig: Rig, reply: Reply, reason: str) -> None:
    """Everybody is refused for a while without a call; then one is made again, and leaves are signed."""
    rig.vault.at(PATH, reply)
    assert [await rig.refused() for _ in range(3)] == [reason] * 3
    assert (rig.asked, rig.problem) == (1, reason)
    rig.vault.at(PATH, rig.vault.truly)
    await rig.clock.advance(60)
    assert "CERTIFICATE" in await rig.sign()
    assert rig.problem == ""


@pytest.mark.parametrize(("reply", "reason"), STANDING, ids=lambda one: one if isinstance(one, str) else "")
async def test_a_refusal(rig: Rig, reply: Reply, reason: str) -> None:
    """What is refused to one may be granted to another, so the next call is made at once."""
    rig.vault.at(PATH, reply)
    assert (await rig.refused(), rig.problem) == (reason, reason)
    rig.vault.at(PATH, rig.vault.truly)
    await rig.clock.advance(60 if reason == "vault_forbidden" else 0)  # a token is not tried for a while
    assert "CERTIFICATE" in await rig.sign()
    assert rig.problem == ""


async def test_a_bad_request(rig: Rig) -> None:
    """Of one caller may be due to its CSR; when Vault says so to a second one too it is due to the role."""
    words = "URI Subject Alternative Names were provided via the API which are not valid for this role"
    rig.vault.at(PATH, refusing(400, words))
    assert ([await rig.refused() for _ in range(2)], rig.problem) == (["vault_bad_request"] * 2, "")
    assert await rig.refused(identity=f"{WEB}-2") == rig.problem == "vault_bad_request"
    rig.vault.at(PATH, rig.vault.truly)
    await rig.sign()
    assert rig.problem == ""


async def test_an_outage_is_counted(rig: Rig) -> None:
    """Once for each call, and not for those that wait for its end."""
    counter = metrics.vault_faults.labels("sealed")
    before = counter._value.get()
    rig.vault.at(PATH, refusing(503, "sealed"))
    assert [await rig.refused() for _ in range(3)] == ["vault_sealed"] * 3
    assert counter._value.get() == before + 1


async def test_failures_together_are_one(rig: Rig) -> None:
    """Calls that fail at the same time make the pause no longer."""
    rig.vault.at(PATH, refusing(503, "sealed"))
    reasons = await asyncio.gather(*(rig.refused() for _ in range(AT_ONCE)))
    assert set(reasons) == {"vault_sealed"}
    rig.vault.at(PATH, rig.vault.truly)
    await rig.clock.advance(OUTAGE.floor * 2)
    assert "CERTIFICATE" in await rig.sign()


async def test_no_more_at_once(rig: Rig) -> None:
    """So many calls run; whoever comes later waits for its turn, and all are answered."""
    running, most, may = 0, 0, asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == AT_ONCE:
            may.set()
        await may.wait()
        await asyncio.sleep(0.05)
        running -= 1
        return await rig.vault.truly(request)

    rig.vault.at(PATH, slow)
    pems = await asyncio.gather(*(rig.sign() for _ in range(3 * AT_ONCE)))
    assert (most, len(pems)) == (AT_ONCE, 3 * AT_ONCE)


async def test_an_outage_while_they_wait(rig: Rig) -> None:
    """Who waited for a turn does not ask a server that has failed meanwhile."""
    rig.vault.at(PATH, refusing(503, "sealed"))
    reasons = await asyncio.gather(*(rig.refused() for _ in range(3 * AT_ONCE)))
    assert (set(reasons), rig.asked) == ({"vault_sealed"}, AT_ONCE)


async def test_given_up_while_it_waits(rig: Rig) -> None:
    """A leaf that nobody waits for any more when its turn comes is not asked for."""
    may = asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        await may.wait()
        return await rig.vault.truly(request)

    rig.vault.at(PATH, slow)
    signing = [asyncio.create_task(rig.sign()) for _ in range(2 * AT_ONCE)]
    while rig.asked < AT_ONCE:  # noqa: ASYNC110 - a count
        await asyncio.sleep(0.01)
    for one in signing[AT_ONCE:]:
        one.cancel()
    await asyncio.gather(*signing[AT_ONCE:], return_exceptions=True)
    may.set()
    await asyncio.gather(*signing[:AT_ONCE])
    await rig.sign()
    assert rig.asked == AT_ONCE + 1


@pytest.mark.parametrize("reply", [hanging, dripping], ids=["silent", "dripping"])
async def test_no_answer(tmp_path: Path, reply: Reply) -> None:
    """Nobody waits longer than the timeout for an answer."""
    async with opened(tmp_path, within="200ms") as rig:
        rig.vault.at(PATH, reply)
        assert await asyncio.gather(*(rig.refused() for _ in range(AT_ONCE))) == ["vault_timeout"] * AT_ONCE


async def test_given_up_unanswered(rig: Rig) -> None:
    """Callers have less patience than the timeout: what they gave up counts as a hang, and is waited for."""
    counter = metrics.vault_faults.labels("timeout")
    before = counter._value.get()
    rig.vault.at(PATH, hanging)
    await rig.given_up(HANGS)
    assert (await rig.refused(), rig.problem, rig.asked) == ("vault_timeout", "vault_timeout", 1)
    assert counter._value.get() == before + 1
    rig.vault.at(PATH, rig.vault.truly)
    await rig.clock.advance(OUTAGE.floor * 2)
    assert "CERTIFICATE" in await rig.sign()


async def test_given_up_soon(rig: Rig) -> None:
    """Whoever goes away at once says nothing of Vault."""
    rig.vault.at(PATH, hanging)
    await rig.given_up(HANGS - 1)
    rig.vault.at(PATH, rig.vault.truly)
    assert rig.problem == ""
    assert "CERTIFICATE" in await rig.sign()


async def test_one_tries_whether_it_is_over(rig: Rig) -> None:
    """After an outage the others are refused at once while one waits, so that a hang is not everybody's."""
    rig.vault.at(PATH, hanging)
    await rig.given_up(HANGS)
    await rig.clock.advance(60)
    trying = asyncio.create_task(rig.sign())
    while rig.asked < 2:  # noqa: ASYNC110 - a count
        await asyncio.sleep(0.01)
    assert (await rig.refused(), rig.asked) == ("vault_timeout", 2)
    trying.cancel()
    await asyncio.gather(trying, return_exceptions=True)


@pytest.mark.parametrize(
    ("most", "says"),
    [(0, "0 leaves wait for their turn"), (1, "no turn at Vault came within")],
    ids=["full", "late"],
)
async def test_no_turn(rig: Rig, monkeypatch: pytest.MonkeyPatch, most: int, says: str) -> None:
    """That no call of ours is free is told as that, counted as no fault of Vault's, and brakes nobody."""
    counter = metrics.vault_faults.labels("timeout")
    before = counter._value.get()
    with monkeypatch.context() as crowded:
        crowded.setattr(rig.leaves, "_lanes", Lanes([], most))
        crowded.setattr(rig.leaves, "_seconds", 0.001)
        with pytest.raises(Unavailable, match=says) as caught:
            await rig.sign()
    assert (caught.value.reason, counter._value.get()) == ("leaf_waiting", before)
    assert "CERTIFICATE" in await rig.sign()


async def test_warnings(rig: Rig) -> None:
    """What the server remarks is for whoever looks closely: it comes with each leaf."""

    async def warned(_: web.Request) -> web.StreamResponse:
        body = {"csr": CSR, "uri_sans": str(WEB), "not_after": END.isoformat()}
        return as_json({"data": rig.vault.pki.leaf("one", body), "warnings": ["careful"]})

    rig.vault.at(PATH, warned)
    with captured_logs() as logs:
        await rig.sign()
    assert [entry["warning"] for entry in logs if entry["event"] == "vault.warning"] == ["careful"]

"""One contract for everybody who signs leaves in our place."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest

from meshca import csr
from meshca.app.control import Channel
from meshca.app.leaf_desk import LeafDesk, answered
from meshca.app.leaf_messages import AskLeaf, GaveLeaf
from meshca.app.openbao_mount import sign_leaves
from meshca.app.openbao_process import OpenBao
from meshca.authority.material import certificate_id as _id
from meshca.authority.outside import Commission, LeafSigner
from meshca.authority.slot import Slot
from meshca.clock import SystemClock
from meshca.config.vault import VaultConfig
from meshca.errors import Unavailable
from meshca.identity.key_type import KeyType
from meshca.svid.draft import Stamp
from meshca.upstream.vault.opening import open_
from tests.fakes.leaf_signer import FakeLeafSigner
from tests.fakes.pki import TRUST_DOMAIN, WEB, grant_of, make_ca, material_of
from tests.fakes.vault_server import serving_vault
from tests.real.openbao import new_mount, vault_config

CLOCK = SystemClock()
ROLE = {"role": "mesh-leaf"}
FindPart = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class Rig:
    """Who signs, and a signer of ours below the same issuer."""

    leaves: LeafSigner
    slot: Slot


@contextlib.asynccontextmanager
async def in_memory() -> AsyncIterator[Rig]:
    """The fake."""
    now = CLOCK.now()
    root = make_ca("root", begin=now - timedelta(days=1), end=now + timedelta(days=9))
    signer = make_ca("signer", root, begin=now - timedelta(days=1), end=now + timedelta(days=9))
    slot = Slot.prove(material_of(signer, roots=[root]), TRUST_DOMAIN, now)
    yield Rig(FakeLeafSigner(root, CLOCK), slot)


@contextlib.asynccontextmanager
async def through_the_parent() -> AsyncIterator[Rig]:
    """A worker's, over a control channel at whose other end the fake answers."""
    ours, theirs = socket.socketpair()
    async with in_memory() as behind:
        parent, worker = await Channel.over(ours), await Channel.over(theirs)
        desk = LeafDesk(worker, seconds=60)

        async def answer() -> None:
            async for message in parent.messages():
                assert isinstance(message, AskLeaf)
                await parent.send(await answered(message, behind.leaves))

        async def hear() -> None:
            async for message in worker.messages():
                assert isinstance(message, GaveLeaf)
                desk.given(message)

        tasks = [asyncio.create_task(one()) for one in (answer, hear)]
        yield Rig(desk, behind.slot)
        for task in tasks:
            task.cancel()
        await asyncio.gather(parent.close(), worker.close(), *tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def below_vault(config: VaultConfig, folder: Path) -> AsyncIterator[Rig]:
    """A role of a Vault."""
    async with open_(config, data_dir=folder, environ={}, trust_domain=TRUST_DOMAIN, clock=CLOCK) as upstream:
        (line,) = await upstream.lines()
        slot = Slot.prove((await upstream.obtain(_id(line.root))).material, TRUST_DOMAIN, CLOCK.now())
        assert upstream.leaves is not None
        yield Rig(upstream.leaves, slot)


@pytest.fixture(params=["fake", "desk", "stand-in", pytest.param("openbao", marks=pytest.mark.real("openbao"))])
def who(request: pytest.FixtureRequest, find_part: FindPart) -> object:
    """A real server, or the name of what stands for one."""
    return find_part(request.param) if request.param == "openbao" else request.param


@pytest.fixture
async def rig(who: object, tmp_path: Path) -> AsyncIterator[Rig]:
    """Each of them."""
    async with contextlib.AsyncExitStack() as stack:
        if isinstance(who, OpenBao):
            mount = await new_mount(who)
            await sign_leaves(who, mount, ROLE["role"], str(TRUST_DOMAIN))
            opened = below_vault(vault_config(who, mount, tmp_path, sign_leaves=ROLE), tmp_path)
        elif who == "stand-in":
            vault = await stack.enter_async_context(serving_vault())
            opened = below_vault(vault.config(tmp_path, sign_leaves=ROLE), tmp_path)
        else:
            opened = through_the_parent() if who == "desk" else in_memory()
        yield await stack.enter_async_context(opened)


def commission(slot: Slot, key: csr.ProvenKey) -> Commission:
    """A leaf of five minutes."""
    stamp = Stamp(serial=1 << 158, now=CLOCK.now(), backdate=timedelta(minutes=2))
    return Commission(
        slot=slot, draft=slot.draft(grant_of(), key, timedelta(minutes=5), stamp), key=key, identity=WEB
    )


@pytest.mark.parametrize("key_type", KeyType)
async def test_signs_what_is_asked_for(rig: Rig, key_type: KeyType) -> None:
    """What comes passes the judgement, and lasts as long as was asked."""
    private, key = csr.fresh_key(key_type)
    asked = commission(rig.slot, key)
    issued = asked.judge(await rig.leaves.sign(asked.wish(csr.request(private))), CLOCK.now())
    assert issued.not_after == asked.draft.not_after


async def test_another_each_time(rig: Rig) -> None:
    """Many at once are many, each with a serial of its own."""
    private, key = csr.fresh_key(KeyType.EC_P256)
    asked = commission(rig.slot, key)
    wish = asked.wish(csr.request(private))
    pems = await asyncio.gather(*(rig.leaves.sign(wish) for _ in range(20)))
    assert len({asked.judge(pem, CLOCK.now()).serial for pem in pems}) == 20


async def test_an_issuer_that_it_has_not(rig: Rig) -> None:
    """By no other issuer than the one that is named."""
    private, key = csr.fresh_key(KeyType.EC_P256)
    wish = replace(commission(rig.slot, key).wish(csr.request(private)), issuer="ab" * 32)
    with pytest.raises(Unavailable):
        await rig.leaves.sign(wish)

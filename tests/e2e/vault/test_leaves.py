"""Vault signs every leaf, below a real server: issued, renewed, recorded by its serial, and none without it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from pathlib import Path

import grpc
import grpc.aio
import pytest
from cryptography import x509

from meshca.app.openbao_mount import sign_leaves
from meshca.authority.chain import signed_by
from meshca.authority.lifecycle import State
from meshca.ledger.query import Query
from meshca.ledger.record import Issuance, Result
from tests.e2e.rotation.live_ca import LiveCa, live_ca, until
from tests.e2e.vault.below import fault, faults, issuing, settings
from tests.real.dev_server import reason, refused
from tests.real.openbao import Mount, OpenBao, add_root, make_default, new_mount, own_openbao

pytestmark = pytest.mark.real("openbao")
ROLE = "mesh-leaf"
WEB = "spiffe://cluster.local/ns/shop/sa/web"


@pytest.fixture
async def vault(place: Path) -> AsyncIterator[OpenBao]:
    """A server of this test's own."""
    async with own_openbao(place / "bao") as server:
        yield server


async def mount_with_role(server: OpenBao) -> Mount:
    """A mount that signs leaves too."""
    mount = await new_mount(server)
    await sign_leaves(server, mount, ROLE, "cluster.local")
    return mount


async def recorded(ca: LiveCa, count: int) -> list[Issuance]:
    """What the ledger has of the workload, the oldest first, once it knows what became of so many."""
    found: list[Issuance] = []

    async def concluded() -> bool:
        found[:] = reversed(await ca.ask(lambda client: client.issuances(Query(spiffe_id=WEB))))
        return len([one for one in found if one.outcome]) == count

    await until(concluded, "the ledger does not know what became of them")
    return found


async def test_issued_and_renewed(openbao: OpenBao, place: Path) -> None:
    """Vault's issuer signed both; the ledger knows each by its own serial, and the second came by the first."""
    mount = await mount_with_role(openbao)
    async with live_ca(place, settings(openbao, mount, place, sign_leaves={"role": ROLE})) as ca:
        first = await ca.server.create(ca.server.token(pod="web"))
        second = await ca.server.create(shown=first)
        assert [one.spiffe_id for one in (first, second)] == [WEB, WEB]
        assert [pem.strip() for pem in first.answer.cert_chain[1:]] == [mount.root]
        found = await recorded(ca, 4)
        autonomy = (await ca.ask(lambda client: client.status())).upstream.autonomy
    serials = [f"{one.leaf.serial_number:x}" for one in (first, second)]
    issued = [one.intent for one in found if one.result is Result.ISSUED]
    asked = [one for one in found if one.result is not Result.ISSUED]
    assert [one.serial for one in issued] == serials
    assert issued[1].parent_serial == serials[0]
    assert [one.outcome.reason for one in asked if one.outcome] == ["renumbered", "renumbered"]
    assert [one.intent.request_id for one in asked] == [one.request_id for one in issued]
    assert autonomy == timedelta(0)


async def test_none_while_it_is_sealed(vault: OpenBao, place: Path) -> None:
    """The caller may try again, nothing is recorded as issued, and once unsealed the next is given."""
    mount = await mount_with_role(vault)
    async with live_ca(place, settings(vault, mount, place, sign_leaves={"role": ROLE})) as ca:
        await vault.seal()
        error = await refused(ca.server.create(ca.server.token(pod="web")))
        assert (error.code(), reason(error)) == (grpc.StatusCode.UNAVAILABLE, "vault_sealed")
        assert [(one.result, one.outcome.reason) for one in await recorded(ca, 1) if one.outcome] == [
            (Result.FAILED, "vault_sealed")
        ]
        await fault(ca, "sealed")
        await vault.unseal()
        await issued_again(ca)


@pytest.mark.parametrize(
    ("fields", "why", "slug"),
    [
        (None, "vault_role", "role"),
        ({"allowed_uri_sans": ["spiffe://*"], "key_type": "any"}, "leaf_answer", "answer"),
    ],
    ids=["no role", "a role without its options"],
)
async def test_a_role_that_is_wrong(
    openbao: OpenBao, place: Path, fields: Mapping[str, object] | None, why: str, slug: str
) -> None:
    """Is a fault of the upstream at once, with what was wrong, and none any more once a leaf is given."""
    mount = await mount_with_role(openbao)
    async with live_ca(place, settings(openbao, mount, place, sign_leaves={"role": ROLE})) as ca:
        await openbao.call("DELETE", f"{mount.path}/roles/{ROLE}")
        if fields is not None:
            await openbao.call("POST", f"{mount.path}/roles/{ROLE}", {"require_cn": False, **fields})
        error = await refused(ca.server.create(ca.server.token(pod="web")))
        assert reason(error) == why
        await fault(ca, slug)
        assert (await ca.ask(lambda client: client.status())).upstream.leaf_error
        await sign_leaves(openbao, mount, ROLE, "cluster.local")
        await issued_again(ca)
        await fault(ca, "")


async def test_a_role_that_refuses_a_namespace(openbao: OpenBao, place: Path) -> None:
    """Is a fault of the upstream, though the rest of the mesh is given leaves; with its own leaves it ends."""
    mount = await mount_with_role(openbao)
    role = (await openbao.call("GET", f"{mount.path}/roles/{ROLE}"))["data"]
    await openbao.call("POST", f"{mount.path}/roles/{ROLE}", {**role, "allowed_uri_sans": [WEB]})
    async with live_ca(place, settings(openbao, mount, place, sign_leaves={"role": ROLE})) as ca:
        tokens = [ca.server.token("bank", name, pod=f"{name}-0") for name in ("api", "db")]
        for token in tokens:
            assert reason(await refused(ca.server.create(token))) == "vault_bad_request"
        await ca.server.create(ca.server.token(pod="web"))
        await fault(ca, "bad_request")
        assert faults(ca, "bad_request") == len(tokens)
        await sign_leaves(openbao, mount, ROLE, "cluster.local")
        await ca.server.create(tokens[0])
        await fault(ca, "")


async def issued_again(ca: LiveCa) -> None:
    """Wait until a caller who tries again is given a leaf."""

    async def issued() -> bool:
        with contextlib.suppress(grpc.aio.AioRpcError):
            return (await ca.server.create(ca.server.token(pod="web"))).spiffe_id == WEB
        return False

    await until(issued, "nothing is issued again")


async def test_the_root_that_is_active_signs(openbao: OpenBao, place: Path) -> None:
    """Another default in the mount changes nothing until the rotation lets its root sign; no leaf is refused."""
    mount = await mount_with_role(openbao)
    async with live_ca(place, settings(openbao, mount, place, sign_leaves={"role": ROLE})) as ca:
        second = await add_root(openbao, mount.path, issuer="two")
        await make_default(openbao, mount.path, "two")
        async with issuing(ca) as load:
            await load.goes_on()
            assert await signs(ca, mount.root)
            (place / "roots.pem").write_text(mount.root + "\n" + second)
            await ca.reaches(State.RETIRING, State.ACTIVE)
            await load.goes_on()
            assert await signs(ca, second)


async def signs(ca: LiveCa, root: str) -> bool:
    """Whether it signs a leaf now."""
    made = await ca.server.create(ca.server.token(pod="web"))
    return signed_by(made.leaf, x509.load_pem_x509_certificate(root.encode()))

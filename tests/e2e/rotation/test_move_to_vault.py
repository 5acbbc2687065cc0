"""From a root of our own to one in a real OpenBao: another upstream is configured, a restart, and no break."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from meshca.app.openbao_process import OpenBao
from meshca.authority.history import Kind
from meshca.authority.lifecycle import Act, State
from tests.e2e.rotation.live_ca import LiveCa, live_ca, stopped, until
from tests.e2e.rotation.mesh import running_mesh
from tests.real.openbao import Mount, new_mount, own_openbao, vault_config

pytestmark = [pytest.mark.real("openbao"), pytest.mark.real("envoy")]
SHORT = {
    "MESHCA__SVID__DEFAULT_LIFETIME": "45s"
}  # so that an old root is soon needed by nobody, but a restart of the CA is outlived


async def begun_below_vault(ca: LiveCa, server: OpenBao, mount: Mount, place: Path, **changes: Any) -> None:
    """Stop the server, name Vault as the upstream, and start it."""
    await ca.stop()
    upstream = vault_config(server, mount, place, **changes).model_dump(mode="json", exclude_none=True)
    ca.settings["MESHCA__UPSTREAM"] = json.dumps(upstream)
    await ca.start()


async def test_under_load(openbao: OpenBao, place: Path) -> None:
    """The new root is distributed, signs when everybody trusts it, the old one goes; 0 failed requests."""
    mount = await new_mount(openbao)
    async with live_ca(place, SHORT) as ca, running_mesh(place, ca) as mesh:
        async with mesh.load() as load:
            await load.is_answered()
            await begun_below_vault(ca, openbao, mount, place)
            await ca.finishes(State.RETIRED, State.ACTIVE)
            await load.is_answered()
        roots = [change for change in await ca.history() if change.kind is Kind.ROOT]
        assert [change.act for change in roots if change.forced] == []
        guards = {change.act: change.guard for change in roots}
        assert guards[Act.ACTIVATE].startswith("2 of 2 workloads trust")
        assert guards[Act.RETIRE].startswith("no workload holds a certificate below")
        await ca.kill()
        await ca.start()
        assert await ca.states() == [State.RETIRED, State.ACTIVE]


async def test_the_way_back(openbao: OpenBao, place: Path) -> None:
    """Until Vault's root signs, the old configuration leads back, and Vault's root can be given up."""
    mount = await new_mount(openbao)
    async with live_ca(place, {}) as ca, running_mesh(place, ca) as mesh:
        agent = await mesh.agent("web")
        await mesh.everybody_acknowledges(1)
        with stopped(agent.process.pid):
            await begun_below_vault(ca, openbao, mount, place)
            await ca.reaches(State.ACTIVE, State.DISTRIBUTING)
            await ca.stop()
            del ca.settings["MESHCA__UPSTREAM"]
            await ca.start()
            assert (await ca.run("root", "abort", "--reason", "not yet")).code == 0
        await ca.finishes(State.ACTIVE, State.RETIRED)
        await ca.server.create(ca.server.token(pod="web"))


async def test_a_root_that_nobody_named(openbao: OpenBao, place: Path) -> None:
    """What would be accepted on first use takes no mesh over: Vault signs nothing, and the old root goes on."""
    mount = await new_mount(openbao)
    async with live_ca(place, {}) as ca:
        await begun_below_vault(ca, openbao, mount, place, roots={"accept": "first_use"})
        await ca.server.create(ca.server.token(pod="web"))
        assert await ca.states() == [State.ACTIVE]
        assert "below a root that is not pinned" in (await ca.ask(lambda client: client.status())).authority_error
    issued = await openbao.call("LIST", f"{mount.path}/certs")
    assert len(issued["data"]["keys"]) == 1  # its root


async def test_while_vault_is_sealed(place: Path) -> None:
    """The old root goes on to sign, the status says why, and the move goes on by itself once Vault is there."""
    async with own_openbao(place / "bao") as server, live_ca(place, SHORT) as ca:
        mount = await new_mount(server)
        await server.seal()
        await begun_below_vault(ca, server, mount, place)
        await ca.server.create(ca.server.token(pod="web"))
        assert await ca.states() == [State.ACTIVE]
        assert "sealed" in (await ca.ask(lambda client: client.status())).authority_error
        await server.unseal()

        async def over() -> bool:
            return await ca.states() == [State.RETIRED, State.ACTIVE]

        await until(over, "the move does not go on")
        exported = await ca.run("root", "export", json_=False)
        (ca.folder / "root.pem").write_text(exported.out)  # what clients are given is from the start
        await ca.server.create(ca.server.token(pod="web"))

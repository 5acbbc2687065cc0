"""Each login at a real OpenBao: it works, is refused, and follows the file that it reads."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from meshca.app.openbao_process import OpenBao
from meshca.clock import SystemClock
from meshca.errors import Unavailable
from meshca.upstream.vault.faults import Fault, fault_of
from meshca.upstream.vault.opening import Reached, reach
from tests.real.openbao import Mount, new_mount, own_openbao, tls_client, tls_files, vault_config
from tests.real.token_reviews import Reviews, projected

pytestmark = pytest.mark.real("openbao")


@pytest.fixture
async def mount(openbao: OpenBao) -> Mount:
    """With an AppRole and a policy of the same name."""
    return await new_mount(openbao)


@contextlib.asynccontextmanager
async def reached(server: OpenBao, mount: Mount, folder: Path, login: dict[str, Any]) -> AsyncIterator[Reached]:
    """A way to the server by a login."""
    config = vault_config(server, mount, folder, login=login)
    async with reach(config, environ={}, clock=SystemClock()) as way:
        yield way


async def who(way: Reached) -> str:
    """What the server calls us."""
    data = (await way.session.call("get", "auth/token/lookup-self")).data
    return data.text("display_name")


async def fault(way: Reached) -> tuple[Fault | None, str]:
    """What a first call fails with."""
    with pytest.raises(Unavailable) as refused:
        await who(way)
    return fault_of(refused.value), refused.value.detail


async def made_token(server: OpenBao, name: str) -> str:
    """A token with a name."""
    made = await server.call("POST", "auth/token/create", {"display_name": name, "ttl": "1h"})
    return str(made["auth"]["client_token"])


class TestToken:
    """A token in a file."""

    async def test_follows_its_file(self, openbao: OpenBao, mount: Mount, tmp_path: Path) -> None:
        """It works; when it is revoked, the one that is in the file by then does."""
        file = tmp_path / "token"
        file.write_text(first := await made_token(openbao, "first"))
        async with reached(openbao, mount, tmp_path, {"token": {"file": str(file)}}) as way:
            assert await who(way) == "token-first"
            await openbao.call("POST", "auth/token/revoke", {"token": first})
            file.write_text(await made_token(openbao, "second"))
            assert await who(way) == "token-second"

    async def test_unknown(self, openbao: OpenBao, mount: Mount, tmp_path: Path) -> None:
        """One that the server does not know is a refused login, told by its file and not shown."""
        file = tmp_path / "token"
        file.write_text("s.unknown")
        async with reached(openbao, mount, tmp_path, {"token": {"file": str(file)}}) as way:
            found, detail = await fault(way)
        assert (found, str(file) in detail, "s.unknown" in detail) == (Fault.LOGIN_REFUSED, True, False)


class TestAppRole:
    """A role id and a secret id."""

    async def test_works(self, openbao: OpenBao, mount: Mount, tmp_path: Path) -> None:
        """It logs in."""
        async with reach(vault_config(openbao, mount, tmp_path), environ={}, clock=SystemClock()) as way:
            assert await who(way) == "approle"

    async def test_wrong(self, openbao: OpenBao, mount: Mount, tmp_path: Path) -> None:
        """A wrong secret id is a refused login and not shown."""
        config = vault_config(openbao, mount, tmp_path)
        (tmp_path / "secret-id").write_text("wrong-secret-id")
        async with reach(config, environ={}, clock=SystemClock()) as way:
            found, detail = await fault(way)
        assert (found, "wrong-secret-id" in detail) == (Fault.LOGIN_REFUSED, False)

    async def test_used(self, openbao: OpenBao, mount: Mount, tmp_path: Path) -> None:
        """A secret id for one login is refused at the second, and the text says that it may be used up."""
        await openbao.call("POST", f"auth/approle/role/{mount.path}", {"secret_id_num_uses": 1})
        config = vault_config(openbao, mount, tmp_path)
        made = await openbao.call("POST", f"auth/approle/role/{mount.path}/secret-id", {})
        (tmp_path / "secret-id").write_text(made["data"]["secret_id"])
        for works in (True, False):
            async with reach(config, environ={}, clock=SystemClock()) as way:
                if works:
                    assert await who(way) == "approle"
                    continue
                found, detail = await fault(way)
                assert (found, "used as often as it may be" in detail) == (Fault.LOGIN_REFUSED, True)

    async def test_follows_its_file(self, openbao: OpenBao, mount: Mount, tmp_path: Path) -> None:
        """A file that is mended while we run is used by the next login."""
        config = vault_config(openbao, mount, tmp_path)
        (tmp_path / "secret-id").write_text("wrong")
        async with reach(config, environ={}, clock=SystemClock()) as way:
            await fault(way)
            (tmp_path / "secret-id").write_text(mount.secret_id.reveal())
            await SystemClock().sleep(2.1)  # the longest first pause after a refusal
            assert await who(way) == "approle"


class TestWrapped:
    """A secret id in a wrapping token."""

    async def wrap(self, server: OpenBao, path: str, body: dict[str, object]) -> str:
        """A wrapping token around the answer to a call."""
        headers = {"X-Vault-Token": server.root_token.reveal(), "X-Vault-Wrap-TTL": "60s"}
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{server.address}/v1/{path}", json=body, headers=headers) as answer,
        ):
            return str((await answer.json())["wrap_info"]["token"])

    def login(self, mount: Mount, file: Path) -> dict[str, Any]:
        """By the file."""
        return {"approle": {"role_id": mount.role_id, "secret_id_file": str(file), "wrapped": True}}

    async def test_once(self, openbao: OpenBao, mount: Mount, tmp_path: Path) -> None:
        """A wrapping token is spent once: the login after a revocation uses what was in it."""
        file = tmp_path / "wrapped"
        file.write_text(await self.wrap(openbao, f"auth/approle/role/{mount.path}/secret-id", {}))
        async with reached(openbao, mount, tmp_path, self.login(mount, file)) as way:
            accessor = (await way.session.call("get", "auth/token/lookup-self")).data.text("accessor")
            await openbao.call("POST", "auth/token/revoke-accessor", {"accessor": accessor})
            assert await who(way) == "approle"

    async def test_another_in_the_file(self, openbao: OpenBao, mount: Mount, tmp_path: Path) -> None:
        """Another wrapping token in the file is spent at the next login."""
        file, path = tmp_path / "wrapped", f"auth/approle/role/{mount.path}/secret-id"
        file.write_text(await self.wrap(openbao, path, {}))
        async with reached(openbao, mount, tmp_path, self.login(mount, file)) as way:
            data = (await way.session.call("get", "auth/token/lookup-self")).data
            await openbao.call("POST", "auth/token/revoke-accessor", {"accessor": data.text("accessor")})
            file.write_text(second := await self.wrap(openbao, path, {}))
            assert await who(way) == "approle"
            with pytest.raises(Unavailable, match="openbao_call"):
                await openbao.call("POST", "sys/wrapping/lookup", {"token": second})

    async def test_used_by_another(self, openbao: OpenBao, mount: Mount, tmp_path: Path) -> None:
        """One that somebody else has used is told as a used one, with what to do."""
        file = tmp_path / "wrapped"
        file.write_text(wrapping := await self.wrap(openbao, f"auth/approle/role/{mount.path}/secret-id", {}))
        await openbao.call("POST", "sys/wrapping/unwrap", {"token": wrapping})
        async with reached(openbao, mount, tmp_path, self.login(mount, file)) as way:
            found, detail = await fault(way)
        assert (found, "if it was not us who used it" in detail) == (Fault.SECRET_ID_USED, True)

    async def test_something_else(self, openbao: OpenBao, mount: Mount, tmp_path: Path) -> None:
        """One around something else than a secret id is told by its file."""
        file = tmp_path / "wrapped"
        file.write_text(await self.wrap(openbao, "sys/wrapping/wrap", {"password": "hush"}))
        async with reached(openbao, mount, tmp_path, self.login(mount, file)) as way:
            found, detail = await fault(way)
        assert (found, str(file) in detail, "hush" in detail) == (Fault.LOGIN_UNREADABLE, True, False)


class TestKubernetes:
    """A projected token of our service account."""

    @pytest.fixture
    async def reviews(self, openbao: OpenBao, mount: Mount) -> AsyncIterator[Reviews]:
        """Which a login method of this test asks, and which finds the first token good."""
        reviews = Reviews()
        reviews.good.add(projected(1))
        async with reviews.served() as address:
            await openbao.call("POST", f"sys/auth/{mount.path}", {"type": "kubernetes"})
            alone = {"disable_local_ca_jwt": True, "kubernetes_ca_cert": mount.root}  # wanted, and not used
            config = {"kubernetes_host": address, "token_reviewer_jwt": projected(0), **alone}
            await openbao.call("POST", f"auth/{mount.path}/config", config)
            bound = {"bound_service_account_names": ["meshca"], "bound_service_account_namespaces": ["mesh"]}
            role = {**bound, "audience": "vault", "token_policies": [mount.path]}
            await openbao.call("POST", f"auth/{mount.path}/role/meshca", role)
            yield reviews

    def login(self, mount: Mount, file: Path, role: str = "meshca") -> dict[str, Any]:
        """By the file."""
        return {"kubernetes": {"role": role, "token_file": str(file), "mount": mount.path}}

    async def test_follows_its_file(
        self, openbao: OpenBao, mount: Mount, reviews: Reviews, tmp_path: Path
    ) -> None:
        """It works; after a revocation the token that kubelet has put there meanwhile is shown."""
        file = tmp_path / "token"
        file.write_text(projected(1))
        async with reached(openbao, mount, tmp_path, self.login(mount, file)) as way:
            data = (await way.session.call("get", "auth/token/lookup-self")).data
            assert data.text("path") == f"auth/{mount.path}/login"
            await openbao.call("POST", "auth/token/revoke-accessor", {"accessor": data.text("accessor")})
            file.write_text(projected(2))
            reviews.good = {projected(2)}
            await who(way)

    async def test_not_reviewed(self, openbao: OpenBao, mount: Mount, reviews: Reviews, tmp_path: Path) -> None:
        """A token that Kubernetes does not know is a refused login and not shown."""
        file = tmp_path / "token"
        file.write_text(projected(3))
        async with reached(openbao, mount, tmp_path, self.login(mount, file)) as way:
            found, detail = await fault(way)
        assert (found, projected(3) in detail, reviews.good) == (Fault.LOGIN_REFUSED, False, {projected(1)})

    @pytest.mark.usefixtures("reviews")
    async def test_wrong_role(self, openbao: OpenBao, mount: Mount, tmp_path: Path) -> None:
        """A role that is not there is a refused login that names it."""
        file = tmp_path / "token"
        file.write_text(projected(1))
        async with reached(openbao, mount, tmp_path, self.login(mount, file, role="other")) as way:
            found, detail = await fault(way)
        assert (found, "role other" in detail) == (Fault.LOGIN_REFUSED, True)

    async def test_no_such_method(self, openbao: OpenBao, mount: Mount, tmp_path: Path) -> None:
        """A login method that is not there is a refused login."""
        file = tmp_path / "token"
        file.write_text(projected(1))
        async with reached(openbao, mount, tmp_path, self.login(mount, file)) as way:
            found, _ = await fault(way)
        assert found is Fault.LOGIN_REFUSED


class TestCertificate:
    """A TLS client certificate."""

    async def test_follows_its_files(self, tmp_path: Path) -> None:
        """It works, another is refused, and one that replaces it while we run is shown by the next login."""
        tls, roots = tls_files(tmp_path)
        login = {"certificate_file": str(tmp_path / "client.crt"), "key_file": str(tmp_path / "client.key")}
        async with own_openbao(tmp_path / "server", tls=tls, roots=roots) as server:
            mount = await new_mount(server)
            await server.call("POST", "sys/auth/cert", {"type": "cert"})
            for name in ("one", "two"):
                role = {"certificate": tls_client(tmp_path, name).pem, "display_name": name}
                await server.call("POST", f"auth/cert/certs/{name}", role)
            tls_client(tmp_path, "one")
            async with reached(server, mount, tmp_path, {"cert": login}) as way:
                await self._follows(server, way, tmp_path)
            tls_client(tmp_path, "stranger")
            async with reached(server, mount, tmp_path, {"cert": login}) as way:
                assert (await fault(way))[0] is Fault.LOGIN_REFUSED
            tls_client(tmp_path, "one")
            async with reached(server, mount, tmp_path, {"cert": {**login, "role": "two"}}) as way:
                assert (await fault(way))[0] is Fault.LOGIN_REFUSED

    async def _follows(self, server: OpenBao, way: Reached, folder: Path) -> None:
        data = (await way.session.call("get", "auth/token/lookup-self")).data
        assert data.text("display_name") == "cert-one"
        tls_client(folder, "two")
        await server.call("POST", "auth/token/revoke-accessor", {"accessor": data.text("accessor")})
        assert await who(way) == "cert-two"

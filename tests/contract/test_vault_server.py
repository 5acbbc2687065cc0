"""The stand-in for Vault answers as a real OpenBao does, as far as we ask."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from meshca.authority.material import certificate_id
from meshca.authority.slot import Slot
from meshca.clock import SystemClock
from meshca.doctor.vault_place import HEALTH
from meshca.errors import Unavailable
from meshca.secret import Secret
from meshca.upstream.ca_certificates import BACKDATE
from meshca.upstream.vault.answer import Answer
from meshca.upstream.vault.client import NOBODY, Method
from meshca.upstream.vault.mount import look
from meshca.upstream.vault.opening import Reached, reach
from meshca.upstream.vault.signing import Signing
from tests.fakes.logs import captured_logs
from tests.fakes.pki import TRUST_DOMAIN
from tests.fakes.vault_server import serving_vault
from tests.real.openbao import OpenBao, in_namespace, new_mount, vault_config

FindPart = Callable[[str], object]


@pytest.fixture(params=["fake", pytest.param("openbao", marks=pytest.mark.real("openbao"))])
def server(request: pytest.FixtureRequest, find_part: FindPart) -> object | None:
    """The real one, or None for the stand-in."""
    return None if request.param == "fake" else find_part(request.param)


@pytest.fixture
async def inside(server: object | None, tmp_path: Path) -> AsyncIterator[Reached]:
    """A way to a namespace of it, with a root and an AppRole."""
    async with contextlib.AsyncExitStack() as stack:
        if isinstance(server, OpenBao):
            team = await in_namespace(server)
            config = vault_config(team, await new_mount(team), tmp_path)
        else:
            fake = await stack.enter_async_context(serving_vault())
            fake.namespaces = frozenset({"team"})
            config = fake.config(tmp_path, namespace="team")
        yield await stack.enter_async_context(reach(config, environ={}, clock=SystemClock()))


@pytest.fixture
async def way(server: object | None, tmp_path: Path) -> AsyncIterator[Reached]:
    """A way to it, with a root and an AppRole."""
    async with contextlib.AsyncExitStack() as stack:
        if isinstance(server, OpenBao):
            config = vault_config(server, await new_mount(server), tmp_path)
        else:
            config = (await stack.enter_async_context(serving_vault())).config(tmp_path)
        yield await stack.enter_async_context(reach(config, environ={}, clock=SystemClock()))


async def log_in(way: Reached) -> Answer:
    """The answer to a login."""
    login = way.config.login.approle
    assert login is not None
    body = {"role_id": login.role_id, "secret_id": login.secret_id_file.read_text()}
    return await way.client.call("post", "auth/approle/login", body)


async def test_look(way: Reached) -> None:
    """The default issuer is found by three names, and is its own root."""
    found = await look(way.client, way.config.mount, "default")
    assert found.roots == (found.current.certificate,)
    for name in ("one", found.current.id):
        assert (await look(way.client, way.config.mount, name)).current == found.current


async def test_signs(way: Reached) -> None:
    """What is signed is what was asked for, with the root in its chain and with remarks, which are logged."""
    found = await look(way.client, way.config.mount, "default")
    clock = SystemClock()
    signing = Signing(way.config, way.session, TRUST_DOMAIN, clock)
    begun = clock.now().replace(microsecond=0)
    with captured_logs() as logs:
        material = await signing.below(found.current, found.roots)
    path = Slot.prove(material, TRUST_DOMAIN, clock.now()).path
    assert [certificate_id(one) for one in path[1:]] == [certificate_id(one) for one in found.roots]
    assert begun - BACKDATE <= material.certificate.not_valid_before_utc <= clock.now() - BACKDATE
    remarks = [entry["warning"] for entry in logs if entry["event"] == "vault.warning"]
    assert [one for one in remarks if one.startswith("Max path length of the signed certificate is zero.")]


async def test_in_a_namespace(inside: Reached) -> None:
    """All that we ask is there, but for what is of the whole server: its health."""
    assert (await look(inside.client, inside.config.mount, "default")).roots
    assert (await inside.session.call("get", "auth/token/lookup-self")).data.seconds("ttl") > 0
    health = (await inside.client.of_server(HEALTH)).whole
    assert (health.flag("initialized"), health.flag("sealed"), health.has("version")) == (True, False, True)
    assert await refusal(inside, "get", HEALTH, None) == "vault_bad_request"


async def test_login(way: Reached) -> None:
    """A login gives a token with a life, and the token may look at itself, be renewed, and ask what it may."""
    auth = (await log_in(way)).auth
    token = Secret(auth.text("client_token"))
    assert auth.seconds("lease_duration") > 0
    assert auth.flag("renewable")
    data = (await way.client.call("get", "auth/token/lookup-self", token=token)).data
    assert 0 < data.seconds("ttl") <= auth.seconds("lease_duration")
    renewed = (await way.client.call("post", "auth/token/renew-self", {}, token=token)).auth
    assert renewed.text("client_token") == token.reveal()
    asked = {"paths": ["sys/seal"]}
    may = (await way.client.call("post", "sys/capabilities-self", asked, token=token)).data
    assert may.texts("sys/seal") == ("deny",)


@pytest.mark.parametrize(
    ("method", "path", "body", "reason"),
    [
        ("get", "{mount}/issuer/nobody/json", None, "vault_issuer"),
        ("get", "nowhere/issuer/default/json", None, "vault_mount"),
        ("post", "auth/approle/login", {"role_id": "r", "secret_id": "s"}, "vault_bad_request"),
        ("post", "auth/nowhere/login", {"role_id": "r", "secret_id": "s"}, "vault_mount"),
    ],
)
async def test_refused_to_anybody(
    way: Reached, method: Method, path: str, body: dict[str, object] | None, reason: str
) -> None:
    """What there is not, and who is not known."""
    assert await refusal(way, method, path, body) == reason


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("{mount}/issuer/default/sign-intermediate", "vault_forbidden"),
        ("auth/token/renew-self", "vault_forbidden"),
        ("sys/wrapping/unwrap", "vault_secret_id_used"),
    ],
)
async def test_refused_to_a_stranger(way: Reached, path: str, reason: str) -> None:
    """A token that the server does not know."""
    assert await refusal(way, "post", path, {}, token=Secret("s.unknown")) == reason


async def refusal(
    way: Reached, method: Method, path: str, body: dict[str, object] | None, *, token: Secret[str] = NOBODY
) -> str:
    """The reason of what a call meets."""
    with pytest.raises(Unavailable) as caught:
        await way.client.call(method, path.format(mount=way.config.mount), body, token=token)
    return caught.value.reason

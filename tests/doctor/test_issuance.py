"""A real certificate, asked for."""

from __future__ import annotations

from datetime import timedelta

import pytest

from meshca.doctor.finding import Unseen, Verdict
from meshca.doctor.issuance import issuance, issued
from meshca.errors import BadRequest, Denied, Exhausted, MeshcaError, Unauthenticated, Unavailable
from meshca.identity.service_account import ServiceAccount
from meshca.kube.api import Forbidden
from meshca.wire.handshake import Handshake
from tests.fakes.doctor import ADDRESS, NAME, ROOTS, TOKEN, FakeMesh, config_map
from tests.fakes.pki import NOW, make_ca


@pytest.fixture
def mesh() -> FakeMesh:
    """One that is well."""
    return FakeMesh()


async def test_issued(mesh: FakeMesh) -> None:
    """Our own identity, by a short token bound to our own pod, under the published roots, asked for once."""
    site = mesh.site()
    said = await issuance(site)
    assert (said.verdict, said.found) == (
        Verdict.OK,
        "spiffe://cluster.local/ns/istio-system/sa/meshca until 2026-01-01T00:10:00Z",
    )
    await issued(site)
    (wish,) = mesh.issuing.wishes
    assert (str(wish.endpoint), wish.server_name, wish.roots) == (ADDRESS, NAME, mesh.ca.pem)
    assert wish.account == ServiceAccount(namespace="istio-system", name="meshca")
    assert "a.b.c" not in repr(wish)
    assert mesh.server.created[TOKEN]["spec"] == {
        "audiences": ["istio-ca"],
        "expirationSeconds": 600,
        "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "meshca-0", "uid": "u-1"},
    }


async def test_audience_of_issuers(mesh: FakeMesh) -> None:
    """Where no token is reviewed, the token is for those who check it."""
    mesh.configure(token_review={"enabled": False}, trusted_node_accounts=[])
    keys = {"file": "keys.json"}
    mesh.config["authn"] = {"issuers": [{"name": "a", "issuer": "https://a", "audiences": ["mine"], "keys": keys}]}
    await issuance(mesh.site())
    assert mesh.server.created[TOKEN]["spec"]["audiences"] == ["mine"]


@pytest.mark.parametrize(
    "error",
    [
        Unauthenticated("ca_unauthenticated", "not believed"),
        BadRequest("ca_bad_request", "not believed"),
        Exhausted("ca_busy", "not believed", retry_after=1),
    ],
)
async def test_refused(mesh: FakeMesh, error: MeshcaError) -> None:
    """Is wrong, and the log has the reason."""
    mesh.issuing.fault = error
    said = await issuance(mesh.site())
    assert (said.verdict, said.found) == (Verdict.WRONG, "not believed")
    assert "the server's log has the reason" in said.mend[0]


async def test_denied(mesh: FakeMesh) -> None:
    """A pod's token is refused by rules only."""
    mesh.issuing.fault = Denied("ca_denied", "no rule")
    said = await issuance(mesh.site())
    assert (said.verdict, said.found) == (Verdict.WRONG, "no rule")
    assert said.mend[0] == "meshca admission explain, for istio-system/meshca; then change the rule file"


async def test_denied_without_a_pod(mesh: FakeMesh) -> None:
    """Is what the shipped rules want; the token was believed."""
    mesh.server.extra = {}
    mesh.issuing.fault = Denied("ca_denied", "no rule")
    said = await issuance(mesh.site())
    assert said.verdict is Verdict.UNKNOWN
    assert "the token was believed, and then refused because no pod holds it" in said.found
    assert "boundObjectRef" not in mesh.server.created[TOKEN]["spec"]


async def unseen(mesh: FakeMesh) -> str:
    """Why it was not asked."""
    with pytest.raises(Unseen) as caught:
        await issuance(mesh.site())
    assert mesh.issuing.wishes == []
    return caught.value.said.found


class TestNotAsked:
    """For each reason it is unknown, and no token leaves."""

    async def test_no_account(self, mesh: FakeMesh) -> None:
        """Only service accounts have tokens."""
        mesh.server.username = "admin"
        assert await unseen(mesh) == "admin is no service account, so it can have no token"

    async def test_nobody_there(self, mesh: FakeMesh) -> None:
        """See the endpoint."""
        mesh.shown = TimeoutError()
        assert (await unseen(mesh)).startswith("not asked: no TLS server answers")

    async def test_a_stranger(self, mesh: FakeMesh) -> None:
        """Who does not prove itself by the published roots, or no more."""
        mesh.shown = mesh.showing(NAME, ca=make_ca("other"))
        assert "a token must not go to a stranger: it leads to no published root" in await unseen(mesh)
        mesh.shown = mesh.showing(NAME, end=NOW - timedelta(minutes=1))
        assert "it ended" in await unseen(mesh)
        mesh.shown = mesh.showing("other")
        assert f"its certificate is not for {NAME}" in await unseen(mesh)
        mesh.shown = Handshake(chain=(b"garbage",), protocol="h2")
        assert "does not parse" in await unseen(mesh)

    async def test_no_roots(self, mesh: FakeMesh) -> None:
        """Nothing is published."""
        mesh.server.objects[ROOTS.format("istio-system")] = config_map({})
        assert "has no certificate" in await unseen(mesh)

    async def test_no_right_to_a_token(self, mesh: FakeMesh) -> None:
        """With how to get it."""
        mesh.server.objects[TOKEN] = Forbidden("kube_forbidden", "no")
        found = await unseen(mesh)
        assert found == "not allowed to create serviceaccounts/token meshca in istio-system"


async def test_unavailable_is_passed_on(mesh: FakeMesh) -> None:
    """The runner makes it unknown."""
    mesh.issuing.fault = Unavailable("ca_unavailable", "gone")
    with pytest.raises(Unavailable):
        await issuance(mesh.site())

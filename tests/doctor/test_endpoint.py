"""The CA's port, as a proxy meets it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from meshca.doctor.address import Address
from meshca.doctor.endpoint import called_by, endpoint, own_address, told_address
from meshca.doctor.finding import Unseen, Verdict
from meshca.kube.api import Forbidden
from meshca.wire.handshake import Handshake
from tests.fakes.doctor import ADDRESS, INJECTOR, MESH, NAME, ROOTS, FakeMesh, config_map, injector
from tests.fakes.pki import NOW, make_ca

OURS = Address.parse(ADDRESS)


@pytest.fixture
def mesh() -> FakeMesh:
    """One that is well."""
    return FakeMesh()


async def test_good(mesh: FakeMesh) -> None:
    """Name, protocol and chain."""
    said = await endpoint(mesh.site())
    assert (said.verdict, said.found) == (
        Verdict.OK,
        f"{ADDRESS} by h2, up to a published root, until 2026-01-02T00:00:00Z",
    )


class TestCalledBy:
    """Which name is checked."""

    async def test_by_istio(self, mesh: FakeMesh) -> None:
        """What the injector writes."""
        assert await called_by(mesh.site()) == (OURS, "global.caAddress")

    async def test_by_the_mesh(self, mesh: FakeMesh) -> None:
        """A proxy's own metadata wins over it."""
        mesh.server.objects[MESH] = config_map(
            {"mesh": "defaultConfig: {proxyMetadata: {CA_ADDR: 'ca.example:1'}}"}
        )
        assert await told_address(mesh.site()) == "ca.example:1"

    async def test_by_flag(self, mesh: FakeMesh) -> None:
        """Wins over both."""
        address = Address(host="ca.example", port=443)
        assert await called_by(mesh.site(ca_address=address)) == (address, "--ca-address")

    @pytest.mark.parametrize("kept", ["empty", "unseen"])
    async def test_by_our_own_configuration(self, mesh: FakeMesh, kept: str) -> None:
        """Where Istio says nothing, or may not be asked."""
        unseen = Forbidden("kube_forbidden", "no")
        mesh.server.objects[INJECTOR] = injector("") if kept == "empty" else unseen
        assert await called_by(mesh.site()) == (OURS, "serving.names")

    async def test_never_by_istiod_itself(self, mesh: FakeMesh) -> None:
        """What answers there is not ours."""
        mesh.server.objects[INJECTOR] = injector("istiod.istio-system.svc:15012")
        assert await called_by(mesh.site()) == (OURS, "serving.names")

    async def test_an_unseen_mesh_configuration_hides_nothing(self, mesh: FakeMesh) -> None:
        """The injector's is taken."""
        mesh.server.objects[MESH] = Forbidden("kube_forbidden", "no")
        assert await told_address(mesh.site()) == ADDRESS

    def test_own_names(self, mesh: FakeMesh) -> None:
        """A name with dots, no address; the first of all if there is none."""
        mesh.config["serving"]["names"] = ["localhost", "10.0.0.1", "ca.example"]
        assert str(own_address(mesh.site())) == "ca.example:15012"
        mesh.config["serving"]["names"] = ["localhost"]
        mesh.config["listen"] = {"token": "0.0.0.0:7000"}
        assert str(own_address(mesh.site())) == "localhost:7000"


class TestFaults:
    """Each has its words."""

    async def test_no_address(self, mesh: FakeMesh) -> None:
        """What Istio has cannot be one."""
        mesh.server.objects[INJECTOR] = injector("meshca")
        said = await endpoint(mesh.site())
        assert (said.verdict, said.mend) == (Verdict.WRONG, (f"set it to {ADDRESS}",))

    async def test_nobody_there(self, mesh: FakeMesh) -> None:
        """Where it was looked for."""
        mesh.shown = ConnectionRefusedError()
        said = await endpoint(mesh.site(endpoint=Address(host="127.0.0.1", port=1)))
        assert said.found == "no TLS server answers at 127.0.0.1:1 (ConnectionRefusedError)"
        assert "port-forward" in said.mend[1]

    async def test_another_name(self, mesh: FakeMesh) -> None:
        """Which it has, and who says the other."""
        mesh.shown = mesh.showing("other.svc", "localhost")
        said = await endpoint(mesh.site())
        assert said.found == f"its certificate is not for {NAME} (global.caAddress) but for other.svc, localhost"
        assert said.mend == (
            f"add {NAME} to serving.names (chart value servingNames)",
            (
                "or call it by one of its names: helm upgrade istiod istio/istiod -n istio-system --reuse-values"
                " --set global.caAddress=<name>:15012"
            ),
        )

    async def test_no_name(self, mesh: FakeMesh) -> None:
        """Is for nobody."""
        mesh.shown = mesh.showing()
        assert (await endpoint(mesh.site())).found.endswith("but for nobody")

    async def test_another_protocol(self, mesh: FakeMesh) -> None:
        """Something stands between."""
        mesh.shown = mesh.showing(NAME, protocol="")
        said = await endpoint(mesh.site())
        assert said.found == "it chose no protocol by ALPN, not h2"

    async def test_garbage(self, mesh: FakeMesh) -> None:
        """Is nobody of ours."""
        mesh.shown = Handshake(chain=(b"garbage",), protocol="h2")
        assert "does not parse" in (await endpoint(mesh.site())).found

    async def test_another_root(self, mesh: FakeMesh) -> None:
        """Than is published."""
        mesh.shown = mesh.showing(NAME, ca=make_ca("other"))
        said = await endpoint(mesh.site())
        assert said.found == "its certificate is refused: it leads to no published root"

    async def test_ended(self, mesh: FakeMesh) -> None:
        """When."""
        mesh.shown = mesh.showing(NAME, end=NOW - timedelta(minutes=1))
        assert "it ended at 2025-12-31T23:59:00Z" in (await endpoint(mesh.site())).found

    async def test_nothing_to_check_with(self, mesh: FakeMesh) -> None:
        """Is unknown, the name being good."""
        mesh.server.objects[ROOTS.format("istio-system")] = config_map({})
        said = await endpoint(mesh.site())
        assert said.verdict is Verdict.UNKNOWN
        assert said.found.startswith(f"good for {NAME}, but nothing to check its chain with: ConfigMap")


async def test_unseen_is_passed_on(mesh: FakeMesh) -> None:
    """By whoever asks what Istio tells."""
    mesh.server.objects[INJECTOR] = Forbidden("kube_forbidden", "no")
    with pytest.raises(Unseen):
        await told_address(mesh.site())

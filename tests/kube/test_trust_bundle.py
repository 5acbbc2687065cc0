"""The roots as a ClusterTrustBundle, on a cluster in memory that gains and loses the API."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from meshca.config.kubernetes import ClusterTrustBundleConfig
from meshca.errors import NotFound
from meshca.kube.trust_bundle import GROUP, LOOK_AGAIN, TrustBundle, bundle_name
from tests.fakes.clock import FakeClock
from tests.fakes.kube_objects import DOWN, FakeKube
from tests.fakes.logs import captured_logs

NAME = "meshca.io:workloads:root-cert"


class Rig:
    """A cluster that serves some versions of the API."""

    def __init__(self, *versions: str) -> None:
        self.clock = FakeClock()
        self.kube = FakeKube()
        self.bundle = TrustBundle(
            self.kube.api, ClusterTrustBundleConfig(enabled=True), lambda: None, "a/b", self.clock
        )
        self.bundle.want("roots")
        self.serve(*versions)

    def serve(self, *versions: str) -> None:
        """Serve exactly these."""
        for version in ("v1", "v1beta1"):
            resources = [{"name": "clustertrustbundles"}] if version in versions else []
            path = f"{GROUP}/{version}"
            self.kube._objects[path] = {"metadata": {}, "resources": resources}
            if version == "v1beta1" and version not in versions:
                self.kube.refusing[path] = NotFound("kube_not_found", "home: not found")
            else:
                self.kube.refusing.pop(path, None)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Kept inside the block."""
        task = asyncio.create_task(self.bundle.run())
        await self.clock.advance(1)
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def spec(self, version: str) -> dict[str, str] | None:
        """What the object says."""
        found = self.kube._objects.get(f"{GROUP}/{version}/clustertrustbundles/{NAME}")
        return found["spec"] if found else None


def test_name() -> None:
    """The signer's, with a colon for its slash, and a name of ours after another."""
    assert bundle_name("meshca.io/workloads") == NAME


@pytest.mark.parametrize(("served", "used"), [(("v1", "v1beta1"), "v1"), (("v1beta1",), "v1beta1")])
async def test_best_version(served: tuple[str, ...], used: str) -> None:
    """The best version that is served is used."""
    rig = Rig(*served)
    async with rig.running():
        assert rig.spec(used) == {"signerName": "meshca.io/workloads", "trustBundle": "roots"}
        assert rig.bundle.version == used
        kept = rig.bundle.report()
    assert kept is not None
    assert kept.in_sync == 1


async def test_not_available() -> None:
    """A cluster without the API is told once, and looked at again."""
    rig = Rig()
    with captured_logs() as logs:
        async with rig.running():
            await rig.clock.advance(10 * LOOK_AGAIN)
            assert (rig.bundle.version, rig.bundle.report(), rig.bundle.absent) == ("", None, True)
            rig.serve("v1")
            await rig.clock.advance(LOOK_AGAIN)
            assert rig.spec("v1") is not None
            assert not rig.bundle.absent
    assert [one["event"] for one in logs].count("kube.no_cluster_trust_bundles") == 1


async def test_upgrade() -> None:
    """When a better version comes, that is used."""
    rig = Rig("v1beta1")
    async with rig.running():
        rig.serve("v1")
        await rig.clock.advance(LOOK_AGAIN + 1)
        assert rig.bundle.version == "v1"
        assert rig.spec("v1") is not None


async def test_unreachable_at_first() -> None:
    """What cannot be looked for is shown, and looked for again soon."""
    rig = Rig("v1")
    rig.kube.refusing[f"{GROUP}/v1"] = DOWN
    with captured_logs():
        async with rig.running():
            assert rig.bundle.watch_errors() == ("home: the API server cannot be reached",)
            del rig.kube.refusing[f"{GROUP}/v1"]
            await rig.clock.advance(6)
            assert rig.spec("v1") is not None
            assert rig.bundle.watch_errors() == ()


async def test_an_outage_changes_nothing() -> None:
    """A version that was found is used until another is."""
    rig = Rig("v1")
    with captured_logs():
        async with rig.running():
            rig.kube.refusing[f"{GROUP}/v1"] = DOWN
            await rig.clock.advance(2 * LOOK_AGAIN)
            rig.bundle.want("others")
            await rig.clock.advance(1)
            assert (rig.spec("v1") or {})["trustBundle"] == "others"


async def test_repaired() -> None:
    """A deleted bundle is made again."""
    rig = Rig("v1")
    async with rig.running():
        await rig.kube.api.delete(f"{GROUP}/v1/clustertrustbundles/{NAME}")
        await rig.clock.advance(1)
        assert rig.spec("v1") is not None

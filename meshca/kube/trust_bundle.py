"""The roots as a ClusterTrustBundle, where the cluster has that API: v1 since Kubernetes 1.37, v1beta1 before.

Kubelets project it into pods, and every service account may read it. The object must carry its signer's name in
its own (`/` as `:`), and who writes it needs the verb `attest` for that signer. Runs while this replica leads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from meshca.clock import Clock
from meshca.config.kubernetes import ClusterTrustBundleConfig
from meshca.errors import MeshcaError, NotFound
from meshca.kube.api import Api, Tree
from meshca.kube.held import WRITTEN_BY, Held, read_held
from meshca.kube.informer import Informer
from meshca.kube.keeper import Keeper
from meshca.kube.kept import Kept
from meshca.log import log

GROUP: Final = "/apis/certificates.k8s.io"
VERSIONS: Final = ("v1", "v1beta1")  # best first
RESOURCE: Final = "clustertrustbundles"
LOOK_AGAIN: Final = 300.0  # seconds: a cluster may be upgraded under us
RETRY: Final = 5.0  # after a look that failed


class BundlePlace:
    """Implements `kube.keeper.Place`; the only key is the object's name."""

    kind = "trust_bundle"

    def __init__(self, config: ClusterTrustBundleConfig, version: str, installation: str) -> None:
        self._config = config
        self._version = version
        self._installation = installation
        self.name = bundle_name(config.signer)

    @property
    def collection(self) -> str:
        """Where it is watched."""
        return f"{GROUP}/{self._version}/{RESOURCE}"

    def path(self, key: str) -> str:
        """Of the object."""
        return f"{self.collection}/{key}"

    def body(self, key: str, text: str) -> Tree:
        """What is ours in it: all that such an object can say."""
        return {
            "apiVersion": f"certificates.k8s.io/{self._version}",
            "kind": "ClusterTrustBundle",
            "metadata": {"name": key, "annotations": {WRITTEN_BY: self._installation}},
            "spec": {"signerName": self._config.signer, "trustBundle": text},
        }

    def read(self, item: Tree) -> Held:
        """What it holds."""
        return read_held(item, ("spec", "trustBundle"), {})


class TrustBundle:
    """Keeps it, while `run` is running.

    Args:
        api: of the cluster.
        config: for which signer.
        fence: raises unless we may write.
        installation: our name.
        clock: for pauses.

    Attributes:
        version: of the API that is used; empty when the cluster has none, or before we know.
        error: why we do not know; empty when we do.
        absent: whether the cluster has no such API, so that nobody reads roots there.
    """

    def __init__(
        self,
        api: Api,
        config: ClusterTrustBundleConfig,
        fence: Callable[[], None],
        installation: str,
        clock: Clock,
    ) -> None:
        self.version = ""
        self.error = ""
        self.absent = False
        self._api = api
        self._config = config
        self._fence = fence
        self._installation = installation
        self._clock = clock
        self._text = ""
        self._keeper: Keeper | None = None
        self._follower: Informer[Held] | None = None

    def want(self, text: str) -> None:
        """Publish these roots from now on."""
        self._text = text
        if self._keeper is not None:
            self._keeper.want(text)

    def report(self) -> Kept | None:
        """How it stands; None while we do not write."""
        return self._keeper.report() if self._keeper else None

    def watch_errors(self) -> tuple[str, ...]:
        """Why the object cannot be followed, or the API not be looked for."""
        watching = self._follower.error if self._follower else None
        return tuple(error for error in (self.error, watching.detail if watching else "") if error)

    async def run(self) -> None:
        """Find the API and keep the object, for ever."""
        while True:
            pause = await self._look()
            if not self.version:
                await self._clock.sleep(pause)
                continue
            version = self.version
            async with asyncio.TaskGroup() as group:
                keeping = group.create_task(self._keep(version))
                while self.version == version:
                    await self._clock.sleep(pause)
                    pause = await self._look()
                keeping.cancel()

    async def _look(self) -> float:
        """Find the best version that is served; seconds until the next look."""
        try:
            self.version = await self._served()
        except MeshcaError as error:
            if error.detail != self.error:
                log.warning("kube.discovery_failed", detail=error.detail)
            self.error = error.detail
            return RETRY
        self.error = ""
        if self.version:
            self.absent = False
        elif not self.absent:
            self.absent = True
            log.warning("kube.no_cluster_trust_bundles", versions=VERSIONS)
        return LOOK_AGAIN

    async def _served(self) -> str:
        for version in VERSIONS:
            try:
                found = await self._api.get(f"{GROUP}/{version}")
            except NotFound:
                continue
            if any(one.get("name") == RESOURCE for one in found.get("resources") or ()):
                return version
        return ""

    async def _keep(self, version: str) -> None:
        place = BundlePlace(self._config, version, self._installation)
        keeper = Keeper(self._api, place, self._fence, self._installation, self._clock)
        keeper.want(self._text)
        keeper.keep(place.name)
        follower = Informer(
            self._api,
            place.collection,
            place.read,
            self._clock,
            selectors={"fieldSelector": f"metadata.name={place.name}"},
            changed=keeper.saw,
        )
        self._keeper, self._follower = keeper, follower
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(follower.run())
                group.create_task(keeper.run())
        finally:
            self._keeper = self._follower = None


def bundle_name(signer: str) -> str:
    """What the object of a signer is called."""
    return f"{signer.replace('/', ':')}:root-cert"

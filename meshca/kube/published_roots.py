"""The roots that workloads have got already, read where `kube.root_config_maps` publishes them.

Nothing is written here, and nobody needs to lead: it is asked before there is anything to publish.
"""

from __future__ import annotations

from meshca.config.kubernetes import RootConfigMapConfig
from meshca.errors import NotFound
from meshca.kube.api import Api
from meshca.kube.root_config_maps import ConfigMapPlace


class PublishedRoots:
    """Implements `upstream.secret_beginning.Published`: that of our own namespace, or of the first listed.

    Args:
        api: of the cluster.
        config: which ConfigMap, which namespaces.
        namespace: our own.

    Attributes:
        place: for people.
    """

    def __init__(self, api: Api, config: RootConfigMapConfig, namespace: str) -> None:
        listed = [name for name in config.namespaces if name not in config.except_]
        self._key = namespace if namespace in listed or not listed else listed[0]
        self._api = api
        self._at = ConfigMapPlace(config, "")
        self.place = f"ConfigMap {config.name} in namespace {self._key}"

    async def read(self) -> str:
        """The text there; empty when there is no such ConfigMap.

        Raises:
            Forbidden, Unavailable: it cannot be read.
        """
        try:
            return self._at.text(await self._api.get(self._at.path(self._key)))
        except NotFound:
            return ""

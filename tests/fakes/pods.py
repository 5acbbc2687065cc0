"""Pods that a test lists; passes tests/contract/test_pods.py."""

from __future__ import annotations

from collections.abc import Sequence

from meshca.authn.cluster import Pod
from meshca.errors import MeshcaError
from meshca.identity.service_account import ServiceAccount


class FakePods:
    """Implements `meshca.authn.cluster.Pods` over a list; `down` is what questions raise, `asked` counts them."""

    def __init__(self, *pods: Pod) -> None:
        self.pods = list(pods)
        self.down: MeshcaError | None = None
        self.asked = 0

    async def find(self, namespace: str, name: str, uid: str) -> Pod | None:
        """The pod of the list."""
        self._check()
        wanted = namespace, name, uid
        return next((pod for pod in self.pods if (pod.account.namespace, pod.name, pod.uid) == wanted), None)

    async def on_node(self, node: str, account: ServiceAccount) -> Sequence[Pod]:
        """Those of the list that are not finished."""
        self._check()
        there = [pod for pod in self.pods if node and (pod.node, pod.account) == (node, account)]
        return [pod for pod in there if not pod.finished]

    def _check(self) -> None:
        self.asked += 1
        if self.down is not None:
            raise self.down

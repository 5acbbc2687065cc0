"""What writers of ours depend on, in a real API server."""

from __future__ import annotations

import pytest

from meshca.kube.api import Api
from tests.contract.kube_objects import ApiServerContract
from tests.e2e.kube.cluster import TestCluster

pytestmark = pytest.mark.real("kubernetes")


class TestRealApiServer(ApiServerContract):
    """The real one."""

    @pytest.fixture
    async def place(self, cluster: TestCluster) -> tuple[Api, str]:
        """A namespace of its own."""
        return cluster.api, f"/api/v1/namespaces/{await cluster.namespace()}/configmaps"

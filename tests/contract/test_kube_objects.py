"""The cluster in memory behaves as a real one where we depend on it."""

from __future__ import annotations

import pytest

from meshca.kube.api import Api
from tests.contract.kube_objects import ApiServerContract
from tests.fakes.kube_objects import FakeKube


class TestFakeKube(ApiServerContract):
    """The fake."""

    @pytest.fixture
    async def place(self) -> tuple[Api, str]:
        """A cluster with one namespace."""
        kube = FakeKube()
        kube.namespace("shop")
        return kube.api, "/api/v1/namespaces/shop/configmaps"

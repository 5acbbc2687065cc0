"""Suites that need a Kubernetes API server: `make test-kube` starts one, KUBECONFIG names any other."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.e2e.kube.cluster import TestCluster, open_cluster


@pytest.fixture
async def cluster() -> AsyncIterator[TestCluster]:
    """The cluster under test, as its administrator."""
    async with open_cluster() as opened:
        yield opened


@pytest.fixture
async def namespace(cluster: TestCluster) -> str:
    """A namespace of the test's own."""
    return await cluster.namespace()

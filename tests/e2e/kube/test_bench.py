"""The measurements of `make bench` that need a cluster, small: what they are of, not what they say."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from bench import kube
from bench.figures import figure

pytestmark = pytest.mark.real("kubernetes")


async def test_figures_of_a_cluster(tmp_path: Path) -> None:
    """Reviews, pods and roots, two runs of each, on a control plane of its own."""
    found = await asyncio.to_thread(kube.measure, tmp_path, count=50, runs=2, namespaces=20)
    assert {"kubernetes.review.certs_per_s", "kubernetes.pods.kb_per_1000"} <= found.keys()
    assert any(key.startswith("kubernetes.roots.change_of_20_") for key in found)
    for key, values in found.items():
        assert len(values) == 2, key
        assert figure(values)["min"] > 0, key

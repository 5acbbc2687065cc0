"""What is kept of a pod, and what is none; the rest of `meshca.kube.pods` is in test_pods.py."""

from __future__ import annotations

from typing import Any

import pytest

from meshca.errors import Unavailable
from meshca.kube.pods import read_pod
from tests.fakes.kube_api import pod_item


class TestReading:
    """What is kept of a pod."""

    @pytest.mark.parametrize("account", ["", "Not A Name"])
    def test_without_an_account(self, account: str) -> None:
        """A pod that runs as nobody is left out."""
        assert read_pod(pod_item("static", "u1", account=account)) is None

    def test_before_it_is_scheduled(self) -> None:
        """It has no node, and may have no status."""
        item = {**pod_item("web-1", "u1", node=""), "status": None}
        pod = read_pod(item)
        assert pod is not None
        assert (pod.node, pod.finished) == ("", False)

    @pytest.mark.parametrize(
        "item",
        [
            {},
            {"metadata": {}, "spec": {}},
            {"metadata": None, "spec": None},
            {**pod_item("a", "u"), "status": 7},
            {**pod_item("a", "u"), "metadata": {"namespace": "shop", "name": ["a"], "uid": "u"}},
            {**pod_item("a", "u"), "metadata": {"namespace": "shop", "name": "a", "uid": "u", "labels": {"x": 1}}},
            {**pod_item("a", "u"), "spec": {"serviceAccountName": {"name": "web"}}},
            {**pod_item("a", "u"), "spec": {"serviceAccountName": "web", "nodeName": 1}},
            pod_item("a" * 318, "u"),
            pod_item("a", "u" * 318),
            pod_item("a", "u", labels={"x": "v" * 318}),
            pod_item("a", "u", labels={"k" * 318: ""}),
            pod_item("a", "u", account="w" * 318),
            pod_item("a", "u", node="n" * 318),
        ],
        ids=[
            *("empty", "nothing in it", "nulls", "status", "name", "label", "account", "node", "long name"),
            *("long uid", "long label", "long label name", "long account", "long node"),
        ],
    )
    def test_what_is_no_pod(self, item: dict[str, Any]) -> None:
        """Whoever answers so is no API server; nothing is known of the pod."""
        with pytest.raises(Unavailable) as caught:
            read_pod(item)
        assert caught.value.reason == "kube_answer"

    @pytest.mark.parametrize(("had", "kept"), [(64, 64), (65, 65), (10_000, 65)])
    def test_too_many_labels(self, had: int, kept: int) -> None:
        """No more are kept than tell that there are too many, for which the pod is refused."""
        found = read_pod(pod_item("web-1", "u1", labels={f"l{number}": "" for number in range(had)}))
        assert found is not None
        assert len(found.labels) == kept

    def test_labels_cannot_be_changed(self) -> None:
        """Labels are frozen like the rest."""
        pod = read_pod(pod_item("web-1", "u1", labels={"app": "web"}))
        assert pod is not None
        with pytest.raises(TypeError):
            pod.labels["app"] = "api"  # type: ignore[index]

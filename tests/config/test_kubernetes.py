"""What the section `kubernetes` refuses."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from meshca.config.kubernetes import KubernetesConfig


def test_defaults() -> None:
    """An empty section means the cluster around us, tokens reviewed, and nothing written."""
    config = KubernetesConfig()
    assert (config.kubeconfig, config.name, config.cluster_ids) == (None, "home", ("Kubernetes",))
    assert (config.token_review.enabled, config.token_review.mode) == (True, "review")
    assert config.token_review.cache == timedelta(seconds=10)
    assert config.trusted_node_accounts == ()
    assert not any(
        (
            config.remote_clusters.enabled,
            config.root_config_map.enabled,
            config.cluster_trust_bundle.enabled,
            config.istiod_certificate.enabled,
        )
    )


def test_except_is_a_key() -> None:
    """A word that Python keeps for itself is one of the file's."""
    config = KubernetesConfig.model_validate({"root_config_map": {"except": ["kube-public"]}})
    assert config.root_config_map.except_ == ("kube-public",)


def test_goes_to_the_workers_and_back() -> None:
    """What is dumped is read again as it was."""
    config = KubernetesConfig.model_validate({"root_config_map": {"except": ["kube-public"]}})
    assert KubernetesConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ({"colour": "red"}, "colour"),
        ({"name": "Home"}, "name"),
        ({"name": "home\n"}, "name"),
        ({"token_review": {"cache": "11s"}}, "cache must be 0s to 10s"),
        ({"token_review": {"cache": "-1s"}}, "cache"),
        ({"token_review": {"audiences": []}}, "audiences"),
        ({"token_review": {"mode": "trust"}}, "mode"),
        ({"token_review": {"concurrency": 0}}, "concurrency"),
        ({"trusted_node_accounts": ["ztunnel"]}, "expected namespace/service-account"),
        ({"trusted_node_accounts": ["a/b/c"]}, "expected namespace/service-account"),
        ({"root_config_map": {"name": "../x"}}, "name"),
        ({"root_config_map": {"key": "a/b"}}, "key"),
        ({"cluster_trust_bundle": {"signer": "meshca"}}, "signer"),
        ({"istiod_certificate": {"names": []}}, "names"),
        ({"timeout": "0s"}, "timeout"),
        (
            {"token_review": {"enabled": False}, "trusted_node_accounts": ["istio-system/ztunnel"]},
            "trusted_node_accounts would do nothing while token_review.enabled is false",
        ),
        (
            {"token_review": {"enabled": False}, "remote_clusters": {"enabled": True}},
            r"remote_clusters\.enabled would do nothing",
        ),
    ],
)
def test_refused(tree: dict[str, Any], words: str) -> None:
    """Each mistake is named by its key."""
    with pytest.raises(ValidationError, match=words):
        KubernetesConfig.model_validate(tree)

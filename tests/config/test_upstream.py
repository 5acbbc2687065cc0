"""What the section `upstream` refuses."""

from __future__ import annotations

from typing import Any

import pytest

from meshca.config.loader import validated
from meshca.config.server import ServerConfig
from meshca.config.upstream import SecretConfig, SelfSignedConfig, signs_leaves
from meshca.config.vault import VaultConfig
from meshca.errors import ConfigError
from meshca.identity.key_type import KeyType


def test_defaults_of_secret() -> None:
    """Istio's two Secrets in our own namespace, and nothing is made."""
    config = SecretConfig(kind="secret")
    assert config.names == ("cacerts", "istio-ca-secret")
    assert (config.namespace, config.create, config.key_type) == (None, False, KeyType.EC_P256)
    assert config.rotate


def test_goes_to_the_workers_and_back() -> None:
    """What is dumped is read again as it was."""
    tree = {"kubernetes": {}, "upstream": {"kind": "secret", "names": ["ca"], "create": True, "key_type": "rsa"}}
    config = ServerConfig.model_validate(tree)
    assert ServerConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize(
    ("upstream", "words"),
    [
        ({"kind": "secrets"}, "upstream"),
        ({"kind": "secret", "name": "cacerts"}, "unknown key"),
        ({"kind": "secret", "names": []}, "names"),
        ({"kind": "secret", "names": ["cacerts", "cacerts"]}, "a Secret is named twice"),
        ({"kind": "secret", "names": ["ca-next", "ca"]}, "ca-next is where the root that follows another is kept"),
        ({"kind": "secret", "names": ["a" * 249]}, "at most 248 characters"),
        ({"kind": "secret", "names": ["../x"]}, "names"),
        ({"kind": "secret", "names": ["Upper"]}, "names"),
        ({"kind": "secret", "names": ["a\n"]}, "names"),
        ({"kind": "secret", "namespace": "a/b"}, "namespace"),
        ({"kind": "secret", "create": "yes"}, "create"),
        ({"kind": "secret", "key_type": "ed25519"}, "key_type"),
        ({"kind": "secret", "intermediate_lifetime": "0s"}, "longer than 0s"),
    ],
)
def test_refused(upstream: dict[str, Any], words: str) -> None:
    """Each mistake is told by its place."""
    with pytest.raises(ConfigError, match=words):
        validated({"kubernetes": {}, "upstream": upstream}, "meshca.yaml")


def test_secret_needs_a_cluster() -> None:
    """Without the section `kubernetes` nothing is asked of a cluster, so there can be no Secret."""
    with pytest.raises(ConfigError, match="needs the section kubernetes"):
        validated({"upstream": {"kind": "secret"}}, "meshca.yaml")


def test_who_signs_leaves() -> None:
    """We do, unless Vault was told to."""
    least = {"kind": "vault", "login": {"token": {"file": "/token"}}, "roots": {"accept": "any"}}
    told = VaultConfig.model_validate({**least, "sign_leaves": {"role": "mesh-leaf"}})
    assert [signs_leaves(one) for one in (SelfSignedConfig(), VaultConfig.model_validate(least), told)] == [
        False,
        False,
        True,
    ]

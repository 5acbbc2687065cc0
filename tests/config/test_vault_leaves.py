"""Which roles may be told to sign leaves."""

from __future__ import annotations

from typing import Any

import pytest

from meshca.config.loader import validated
from meshca.config.vault import VaultConfig
from meshca.errors import ConfigError


def vault(**changes: Any) -> VaultConfig:
    """The upstream of a configuration with these."""
    least = {"kind": "vault", "login": {"token": {"file": "/token"}}, "roots": {"accept": "any"}}
    upstream = validated({"upstream": least | changes}, "meshca.yaml").upstream
    assert isinstance(upstream, VaultConfig)
    return upstream


def test_sign_leaves() -> None:
    """A role of the mount, or nothing, which is the default."""
    leaves = vault(sign_leaves={"role": "mesh-leaf"}).sign_leaves
    assert leaves is not None
    assert (leaves.role, vault().sign_leaves) == ("mesh-leaf", None)


@pytest.mark.parametrize("role", ["", "../sign-verbatim", "a/b", "a b", "é", "x" * 129])
def test_sign_leaves_refused(role: str) -> None:
    """What is no name of a role must not become part of a path."""
    with pytest.raises(ConfigError, match=r"upstream.*sign_leaves\.role.*expected the name of a role"):
        vault(sign_leaves={"role": role})

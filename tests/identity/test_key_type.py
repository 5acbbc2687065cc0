"""Tests of meshca.identity.key_type."""

from __future__ import annotations

from meshca.identity.key_type import KeyType


def test_key_types_are_spelled_as_in_files() -> None:
    """The values are what configuration, admission rules and the ledger hold."""
    assert [str(kind) for kind in KeyType] == ["ec-p256", "ec-p384", "rsa"]

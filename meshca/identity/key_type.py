"""The key types that meshca knows: for a workload's key, an intermediate's and a root's."""

from __future__ import annotations

import enum


class KeyType(enum.StrEnum):
    """A public key algorithm with its size; RSA covers 2048 to 4096 bits."""

    EC_P256 = "ec-p256"
    EC_P384 = "ec-p384"
    RSA = "rsa"

"""Configuration of the upstream: who signs our signing certificate."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field

from meshca.config.model import FilePath, Model, PositiveDuration
from meshca.identity.key_type import KeyType


class SelfSignedConfig(Model):
    """A root made at first start and kept in the data directory, with a signing intermediate below it."""

    kind: Literal["self_signed"] = "self_signed"
    key_type: Annotated[KeyType, Field(strict=False)] = KeyType.EC_P256
    root_lifetime: PositiveDuration = timedelta(days=3650)  # 10 years, as Istio's and Linkerd's practice is
    intermediate_lifetime: PositiveDuration = timedelta(days=30)  # re-made at half of it


class FilesConfig(Model):
    """A plugged-in CA: a folder in one of the two `cacerts` layouts of Istio.

    Attributes:
        dir: the folder; `ca-cert.pem ca-key.pem cert-chain.pem root-cert.pem`, or `tls.crt tls.key ca.crt`.
    """

    kind: Literal["files"]
    dir: FilePath


UpstreamConfig = Annotated[SelfSignedConfig | FilesConfig, Field(discriminator="kind")]

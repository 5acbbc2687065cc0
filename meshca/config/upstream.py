"""Configuration of the upstream: who signs our signing certificate."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from meshca.config.kubernetes import Namespace
from meshca.config.model import FilePath, Model, PositiveDuration
from meshca.config.vault import VaultConfig
from meshca.identity.key_type import KeyType

SecretName = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?\z")]


_LONGEST_NAME = 253 - len("-next")  # RFC 1123 subdomain, as Kubernetes names Secrets


def _distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    """Each once, with room for the Secret of a root that shall follow."""
    if len(set(names)) < len(names):
        raise ValueError("a Secret is named twice")
    if f"{names[-1]}-next" in names:
        raise ValueError(f"{names[-1]}-next is where the root that follows another is kept: name another Secret")
    if len(names[-1]) > _LONGEST_NAME:
        raise ValueError(f"the last name must have at most {_LONGEST_NAME} characters: another ends with -next")
    return names


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


class SecretConfig(Model):
    """A CA that is kept in Secrets of Kubernetes, in any layout of Istio's, and shared by all replicas.

    Attributes:
        names: of the Secrets; the first that holds a CA is used, and one that Istio generated comes last.
        namespace: of the Secrets; our own when absent.
        create: whether a first start that finds no CA makes a root, in the last of the Secrets.
        rotate: whether a root that Istio or we have made may be followed by another: that is made in the Secret
            `<last of the names>-next` and moves into the last of the names when the old one is forgotten.
        key_type: of such a root, and of the intermediates below any root whose key a Secret holds.
        root_lifetime: of such a root.
        intermediate_lifetime: of the intermediates; re-made at half of it.
    """

    kind: Literal["secret"]
    names: Annotated[tuple[SecretName, ...], Field(strict=False, min_length=1), AfterValidator(_distinct)] = (
        "cacerts",
        "istio-ca-secret",
    )
    namespace: Namespace | None = None
    create: bool = False
    rotate: bool = True
    key_type: Annotated[KeyType, Field(strict=False)] = KeyType.EC_P256
    root_lifetime: PositiveDuration = timedelta(days=3650)
    intermediate_lifetime: PositiveDuration = timedelta(days=30)


UpstreamConfig = Annotated[
    SelfSignedConfig | FilesConfig | SecretConfig | VaultConfig, Field(discriminator="kind")
]


def signs_leaves(config: UpstreamConfig) -> bool:
    """Whether the upstream signs every leaf in our place."""
    return isinstance(config, VaultConfig) and config.sign_leaves is not None

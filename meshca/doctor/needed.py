"""Which permissions a server needs by its own configuration: one table, as the chart's Roles are.

Only what a running server really asks is here; what the doctor itself would like to look at is not.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from meshca.config.kubernetes import KubernetesConfig
from meshca.config.server import ServerConfig
from meshca.config.upstream import SecretConfig
from meshca.config.vault import VaultConfig
from meshca.doctor.permission import Permission
from meshca.upstream.secret_reading import next_name

AUTHENTICATION: Final = "authentication.k8s.io"
CERTIFICATES: Final = "certificates.k8s.io"
COORDINATION: Final = "coordination.k8s.io"
READ: Final = ("get", "list", "watch")


def needed(config: ServerConfig, kubernetes: KubernetesConfig, own: str) -> tuple[Permission, ...]:
    """Every permission, each once.

    Args:
        config: of the server.
        kubernetes: that section of it.
        own: the namespace that the server runs in.
    """
    found = (
        *_reviews(kubernetes),
        *_remote_clusters(kubernetes, own),
        *_root_config_maps(kubernetes),
        *_bundle(kubernetes),
        *_istiod_certificate(kubernetes),
        *_lease(kubernetes, own),
        *_ca(config, own),
        *_custody(config, own),
    )
    return tuple(dict.fromkeys(found))


def _reviews(config: KubernetesConfig) -> Iterator[Permission]:
    review = config.token_review
    if not review.enabled:
        return
    if review.mode != "pods":
        yield Permission(verb="create", resource="tokenreviews", group=AUTHENTICATION, value="always there")
    if review.mode != "review":
        for path in ("/.well-known/openid-configuration", "/openid/v1/jwks"):
            yield Permission(verb="get", path=path, value="every service account has it by default")
    for verb in READ:
        yield Permission(verb=verb, resource="pods", value="always there")


def _remote_clusters(config: KubernetesConfig, own: str) -> Iterator[Permission]:
    if config.remote_clusters.enabled:
        for verb in ("list", "watch"):
            yield Permission(verb=verb, resource="secrets", namespace=own, value="remoteClusters.enabled")


def _root_config_maps(config: KubernetesConfig) -> Iterator[Permission]:
    maps = config.root_config_map
    if not maps.enabled:
        return
    value = "rootConfigMap.enabled"
    if not maps.namespaces:
        for verb in ("list", "watch"):
            yield Permission(verb=verb, resource="namespaces", value=value)
    value = "rootConfigMap.namespaces" if maps.namespaces else value
    for place in [each for each in maps.namespaces if each not in maps.except_] or [""]:
        for verb in (*READ, "create", "patch"):
            yield Permission(verb=verb, resource="configmaps", namespace=place, name=maps.name, value=value)


def _bundle(config: KubernetesConfig) -> Iterator[Permission]:
    bundle = config.cluster_trust_bundle
    if not bundle.enabled:
        return
    value, resource = "clusterTrustBundle.enabled", "clustertrustbundles"
    name = f"{bundle.signer.replace('/', ':')}:root-cert"
    for verb in (*READ, "create", "patch"):
        yield Permission(verb=verb, resource=resource, group=CERTIFICATES, name=name, value=value)
    yield Permission(
        verb="attest",
        resource="signers",
        group=CERTIFICATES,
        name=bundle.signer,
        value="clusterTrustBundle.signer",
    )


def _istiod_certificate(config: KubernetesConfig) -> Iterator[Permission]:
    wanted = config.istiod_certificate
    if not wanted.enabled:
        return
    at, value = wanted.namespace, "istiodCertificate.enabled"
    for verb in ("get", "update"):
        yield Permission(verb=verb, resource="secrets", namespace=at, name=wanted.secret, value=value)
    yield Permission(verb="create", resource="secrets", namespace=at, value=value)


def _lease(config: KubernetesConfig, own: str) -> Iterator[Permission]:
    writers = (config.root_config_map, config.cluster_trust_bundle, config.istiod_certificate)
    if any(writer.enabled for writer in writers):
        for verb, name in (("get", config.lease), ("update", config.lease), ("create", "")):
            yield Permission(
                verb=verb, resource="leases", group=COORDINATION, namespace=own, name=name, value="always there"
            )


def _ca(config: ServerConfig, own: str) -> Iterator[Permission]:
    ca = config.upstream
    if not isinstance(ca, SecretConfig):
        return
    at, value = ca.namespace or own, "upstream.kind: secret"
    main, spare = ca.names[-1], next_name(ca.names)
    for name in (*ca.names, spare):  # the last even if it never exists: one that cannot be read stops a start
        for verb in READ:
            yield Permission(verb=verb, resource="secrets", namespace=at, name=name, value=value)
    if ca.create or ca.rotate:  # makes a root, or fills a Secret that is there and empty
        value = "upstream.rotate" if ca.rotate else "upstream.create"
        yield Permission(verb="create", resource="secrets", namespace=at, value=value)
        for name in (main, spare) if ca.rotate else (main,):
            yield Permission(verb="update", resource="secrets", namespace=at, name=name, value=value)


def _custody(config: ServerConfig, own: str) -> Iterator[Permission]:
    ca = config.upstream
    if not isinstance(ca, VaultConfig) or ca.custody != "secret":
        return
    value = "upstream.custody: secret"
    for verb in ("get", "update"):
        yield Permission(verb=verb, resource="secrets", namespace=own, name=ca.custody_secret or "", value=value)
    yield Permission(verb="create", resource="secrets", namespace=own, value=value)

"""Wires the chain of authenticators: a certificate first, then issuers' keys, then the word of clusters."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from meshca.authn import jwks
from meshca.authn.chain import Authenticator, Chain
from meshca.authn.client_cert import ClientCertAuthenticator, Lineage
from meshca.authn.cluster import Clusters
from meshca.authn.node_proxy import NodeProxies
from meshca.authn.token_review import TokenReviewAuthenticator
from meshca.clock import Clock
from meshca.config.kubernetes import account_of
from meshca.config.server import ServerConfig


@contextlib.asynccontextmanager
async def open_known_clusters(config: ServerConfig, clock: Clock) -> AsyncIterator[Clusters | None]:
    """The clusters whose tokens and pods are looked at, followed while open; None when nothing needs them.

    Raises:
        ConfigError: there is no usable way to the home cluster.
    """
    found = config.kubernetes
    if found is None or not found.token_review.enabled:
        yield None
        return
    from meshca.kube.clusters import open_clusters  # a second of a worker's start, and not every server has one
    from meshca.kube.reviewer import ApiReviewer

    issuers = [issuer.name for issuer in config.authn.issuers]
    async with open_clusters(found, clock, ApiReviewer, issuers=issuers) as clusters:
        yield clusters


@contextlib.asynccontextmanager
async def open_chain(
    config: ServerConfig, lineage: Lineage, clusters: Clusters | None, clock: Clock
) -> AsyncIterator[Chain]:
    """Everybody who may prove a caller, in order; nothing waits for an issuer or an API server.

    A certificate wins over a token: renewals go on while clusters are out of reach. Keys that are configured come
    before a review, which costs more.
    """
    chain: list[Authenticator] = []
    if config.authn.client_cert.enabled:
        chain.append(_certificates(config, lineage, clock))
    reviews = _reviews(config, clusters, clock)
    async with jwks.open_(config.authn.issuers, clock) as tokens:
        if config.authn.issuers or not reviews:
            chain.append(tokens)
        yield Chain(chain + reviews)


def node_proxies(config: ServerConfig, clusters: Clusters | None) -> NodeProxies | None:
    """Who may ask for the identities of workloads on its node; None when nobody may."""
    if clusters is None or config.kubernetes is None or not config.kubernetes.trusted_node_accounts:
        return None
    trusted = map(account_of, config.kubernetes.trusted_node_accounts)
    return NodeProxies(frozenset(trusted), clusters, config.trust_domain)


def _certificates(config: ServerConfig, lineage: Lineage, clock: Clock) -> ClientCertAuthenticator:
    return ClientCertAuthenticator(
        trust_domain=config.trust_domain,
        lineage=lineage,
        clock=clock,
        max_lineage_age=config.authn.client_cert.max_lineage_age,
    )


def _reviews(config: ServerConfig, clusters: Clusters | None, clock: Clock) -> list[Authenticator]:
    if clusters is None or config.kubernetes is None or not config.kubernetes.token_review.enabled:
        return []
    return [TokenReviewAuthenticator(clusters, config.kubernetes.token_review, clock)]

"""Which permissions each feature needs."""

from __future__ import annotations

from typing import Any

import pytest

from meshca.config.loader import validated
from meshca.doctor.needed import needed

ALWAYS = {
    "create tokenreviews.authentication.k8s.io in the whole cluster",
    "get pods in the whole cluster",
    "list pods in the whole cluster",
    "watch pods in the whole cluster",
}
LEASE = {
    "get leases.coordination.k8s.io meshca-leader in own",
    "update leases.coordination.k8s.io meshca-leader in own",
    "create leases.coordination.k8s.io in own",
}
BUNDLE = "clustertrustbundles.certificates.k8s.io meshca.io:workloads:root-cert"
KEYS = {"get /openid/v1/jwks", "get /.well-known/openid-configuration"}


def of(kubernetes: dict[str, Any], **sections: Any) -> set[str]:
    """In words."""
    config = validated({"kubernetes": kubernetes, **sections}, "test")
    assert config.kubernetes is not None
    found = needed(config, config.kubernetes, "own")
    assert len(found) == len(set(found))
    return {str(one) for one in found}


def maps(place: str) -> set[str]:
    """Of the ConfigMap of roots."""
    verbs = ("get", "list", "watch", "create", "patch")
    return {f"{verb} configmaps istio-ca-root-cert in {place}" for verb in verbs}


@pytest.mark.parametrize(
    ("kubernetes", "more"),
    [
        ({}, set()),
        ({"token_review": {"mode": "local"}}, KEYS),
        (
            {"remote_clusters": {"enabled": True}},
            {"list secrets in own", "watch secrets in own"},
        ),
        (
            {"root_config_map": {"enabled": True}},
            {
                "list namespaces in the whole cluster",
                "watch namespaces in the whole cluster",
                *maps("the whole cluster"),
                *LEASE,
            },
        ),
        (
            {"root_config_map": {"enabled": True, "namespaces": ["a", "b"], "except": ["b"]}},
            {*maps("a"), *LEASE},
        ),
        (
            {"cluster_trust_bundle": {"enabled": True}},
            {
                *(f"{verb} {BUNDLE} in the whole cluster" for verb in ("get", "list", "watch", "create", "patch")),
                "attest signers.certificates.k8s.io meshca.io/workloads in the whole cluster",
                *LEASE,
            },
        ),
        (
            {"istiod_certificate": {"enabled": True, "namespace": "istio"}},
            {
                "get secrets istiod-tls in istio",
                "update secrets istiod-tls in istio",
                "create secrets in istio",
                *LEASE,
            },
        ),
    ],
)
def test_feature(kubernetes: dict[str, Any], more: set[str]) -> None:
    """Each brings its own and no more."""
    assert of(kubernetes) == ALWAYS | more


def test_pods_mode_asks_no_review() -> None:
    """Only keys and pods."""
    assert of({"token_review": {"mode": "pods"}}) == {one for one in ALWAYS if "pods" in one} | KEYS


def test_no_reviews() -> None:
    """Nothing at all."""
    assert of({"token_review": {"enabled": False}}) == set()


@pytest.mark.parametrize(
    ("create", "rotate", "written"),
    [
        (False, False, set()),
        (True, False, {"create secrets in own", "update secrets ca in own"}),
        (False, True, {"create secrets in own", "update secrets ca in own", "update secrets ca-next in own"}),
        (True, True, {"create secrets in own", "update secrets ca in own", "update secrets ca-next in own"}),
    ],
)
def test_ca_in_a_secret(create: bool, rotate: bool, written: set[str]) -> None:  # noqa: FBT001 - columns of the table
    """Reading each Secret by name, that of a root that follows too; writing only where a root may be made."""
    upstream = {"kind": "secret", "names": ["cacerts", "ca"], "create": create, "rotate": rotate}
    names = ("cacerts", "ca", "ca-next")
    read = {f"{verb} secrets {name} in own" for verb in ("get", "list", "watch") for name in names}
    assert of({"token_review": {"enabled": False}}, upstream=upstream) == read | written


@pytest.mark.parametrize(
    ("changes", "more"),
    [
        ({}, set()),
        ({"custody": "secret"}, {"get secrets in own", "update secrets in own", "create secrets in own"}),
        (
            {"custody": "secret", "custody_secret": "one"},
            {"get secrets one in own", "update secrets one in own", "create secrets in own"},
        ),
    ],
)
def test_custody_in_a_secret(changes: dict[str, Any], more: set[str]) -> None:
    """One Secret of ours is read and written, by its name where that is configured."""
    login = {"token": {"file": "/token"}}
    upstream = {"kind": "vault", "address": "https://vault", "login": login, "roots": {"accept": "any"}}
    assert of({"token_review": {"enabled": False}}, upstream=upstream | changes) == more

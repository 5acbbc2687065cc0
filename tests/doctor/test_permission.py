"""Permissions in words, as questions, as commands."""

from __future__ import annotations

import pytest

from meshca.doctor.permission import Permission, account_of, grant, subject_of
from meshca.identity.service_account import ServiceAccount

SECRET = Permission(verb="get", resource="secrets", namespace="istio-system", name="istiod-tls")
TOKEN = Permission(verb="create", resource="serviceaccounts/token", namespace="a", name="meshca")
LEASE = Permission(verb="create", resource="leases", group="coordination.k8s.io", namespace="a")
REVIEW = Permission(verb="create", resource="tokenreviews", group="authentication.k8s.io")
KEYS = Permission(verb="get", path="/openid/v1/jwks")
SIGNER = Permission(verb="attest", resource="signers", group="certificates.k8s.io", name="meshca.io/workloads")


@pytest.mark.parametrize(
    ("permission", "text"),
    [
        (SECRET, "get secrets istiod-tls in istio-system"),
        (TOKEN, "create serviceaccounts/token meshca in a"),
        (LEASE, "create leases.coordination.k8s.io in a"),
        (REVIEW, "create tokenreviews.authentication.k8s.io in the whole cluster"),
        (KEYS, "get /openid/v1/jwks"),
    ],
)
def test_words(permission: Permission, text: str) -> None:
    """Verb, resource, name and place."""
    assert str(permission) == text


def test_question() -> None:
    """As SelfSubjectAccessReviewSpec wants it: a subresource apart, nothing empty but the core group."""
    assert TOKEN.question() == {
        "resourceAttributes": {
            "verb": "create",
            "group": "",
            "resource": "serviceaccounts",
            "subresource": "token",
            "namespace": "a",
            "name": "meshca",
        }
    }
    assert KEYS.question() == {"nonResourceAttributes": {"verb": "get", "path": "/openid/v1/jwks"}}


@pytest.mark.parametrize(
    ("permission", "command"),
    [
        (
            SECRET,
            (
                "kubectl create role meshca-get-secrets --verb=get --resource=secrets --resource-name=istiod-tls"
                " -n istio-system && kubectl create rolebinding meshca-get-secrets --role=meshca-get-secrets"
                " --serviceaccount=a:b -n istio-system"
            ),
        ),
        (
            TOKEN,
            (
                "kubectl create role meshca-create-serviceaccounts-token --verb=create "
                "--resource=serviceaccounts/token --resource-name=meshca -n a && kubectl create rolebinding"
                " meshca-create-serviceaccounts-token"
                " --role=meshca-create-serviceaccounts-token --serviceaccount=a:b -n a"
            ),
        ),
        (
            KEYS,
            (
                "kubectl create clusterrole meshca-get-path --verb=get --non-resource-url=/openid/v1/jwks "
                "&& kubectl create clusterrolebinding meshca-get-path --clusterrole=meshca-get-path"
                " --serviceaccount=a:b"
            ),
        ),
        (SIGNER, ""),
    ],
)
def test_grant(permission: Permission, command: str) -> None:
    """A command to copy; none for what kubectl does not know as a resource."""
    assert grant(permission, "--serviceaccount=a:b") == command


@pytest.mark.parametrize(
    ("username", "subject"),
    [
        ("system:serviceaccount:a:b", "--serviceaccount=a:b"),
        ("kubernetes-admin", "--user=kubernetes-admin"),
        ("x; rm", "--user='x; rm'"),
        ("system:serviceaccount:a", "--user=system:serviceaccount:a"),
    ],
)
def test_subject(username: str, subject: str) -> None:
    """A foreign name is quoted for a shell."""
    assert subject_of(username) == subject


def test_account() -> None:
    """Only a service account's name is one."""
    assert account_of("system:serviceaccount:a:b") == ServiceAccount(namespace="a", name="b")
    assert account_of("admin") is None


def test_at() -> None:
    """The same elsewhere."""
    assert str(LEASE.at("b")) == "create leases.coordination.k8s.io in b"

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


def command(kind: str, name: str, what: str, place: str = "") -> str:
    """What is copied."""
    role = f"kubectl create {kind} {name} {what}{place}"
    return f"{role} && kubectl create {kind}binding {name} --{kind}={name} --serviceaccount=a:b{place}"


@pytest.mark.parametrize(
    ("permission", "expected"),
    [
        (
            SECRET,
            command(
                "role",
                "meshca-get-secrets-istiod-tls",
                "--verb=get --resource=secrets --resource-name=istiod-tls",
                " -n istio-system",
            ),
        ),
        (
            TOKEN,
            command(
                "role",
                "meshca-create-serviceaccounts-token-meshca",
                "--verb=create --resource=serviceaccounts/token --resource-name=meshca",
                " -n a",
            ),
        ),
        (
            KEYS,
            command("clusterrole", "meshca-get-openid-v1-jwks", "--verb=get --non-resource-url=/openid/v1/jwks"),
        ),
        (SIGNER, ""),
    ],
)
def test_grant(permission: Permission, expected: str) -> None:
    """A command to copy, whose role has a name of its own; none for what kubectl does not know as a resource."""
    assert grant(permission, "--serviceaccount=a:b") == expected


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

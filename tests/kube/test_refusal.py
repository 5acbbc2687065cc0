"""What is read out of an API server's refusals; the texts are those of Kubernetes 1.37."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshca.kube import refusal


def status(message: object, *causes: str) -> bytes:
    """A metav1.Status."""
    return orjson.dumps({"message": message, "details": {"causes": [{"reason": cause} for cause in causes]}})


CREATE = (
    'configmaps "r" is forbidden: User "system:serviceaccount:a:b" cannot create resource "configmaps" in API'
    ' group "" in the namespace "shop"'
)
LIST = 'pods is forbidden: User "x" cannot list resource "pods" in API group "" at the cluster scope'
UPDATE = (
    'User "x" cannot update resource "podcertificaterequests/status" in API group "certificates.k8s.io"'
    ' in the namespace "a"'
)
ATTEST = 'clustertrustbundles "n" is forbidden: user not permitted to attest for signerName "meshca.io/workloads"'


@pytest.mark.parametrize(
    ("message", "permission"),
    [
        (CREATE, "create configmaps in shop"),
        (LIST, "list pods"),
        (UPDATE, "update podcertificaterequests/status.certificates.k8s.io in a"),
        (ATTEST, "attest signers.certificates.k8s.io named meshca.io/workloads"),
        ("forbidden by quota", None),
        (7, None),
    ],
)
def test_permission(message: object, permission: str | None) -> None:
    """The verb and the resource, as RBAC spells them."""
    assert refusal.missing_permission(status(message)) == permission


def test_a_user_cannot_write_our_words() -> None:
    """What a name says is read only as far as a resource's name could go."""
    hostile = 'User "x" cannot get resource "secret words; rm" in API group ""'
    assert refusal.missing_permission(status(hostile)) is None


def test_terminating() -> None:
    """A namespace that is being deleted is a cause of its own."""
    assert refusal.is_terminating(status("", "NamespaceTerminating"))
    assert not refusal.is_terminating(status("NamespaceTerminating"))


def test_too_long() -> None:
    """So is an object that is too large."""
    assert refusal.is_too_long(status("", "Other", "FieldValueTooLong"))
    assert not refusal.is_too_long(status(""))


@given(st.binary() | st.recursive(st.none() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)))
def test_anything(answer: object) -> None:
    """Whatever was answered, nothing breaks."""
    raw = answer if isinstance(answer, bytes) else orjson.dumps(answer)
    assert refusal.missing_permission(raw) is None
    assert not refusal.is_terminating(raw)
    assert not refusal.is_too_long(raw)


@pytest.mark.parametrize(
    ("path", "resource"),
    [
        ("/api/v1/pods", "pods"),
        ("/api/v1/namespaces", "namespaces"),
        ("/api/v1/namespaces/shop", "namespaces"),
        ("/api/v1/namespaces/shop/pods", "pods in shop"),
        ("/api/v1/namespaces/shop/pods/a/status", "pods/status in shop"),
        ("/api/v1/namespaces/shop/configmaps/a", "configmaps in shop"),
        ("/apis/authentication.k8s.io/v1/tokenreviews", "tokenreviews.authentication.k8s.io"),
        (
            "/apis/coordination.k8s.io/v1/namespaces/m/leases/a",
            "leases.coordination.k8s.io in m",
        ),
        ("/version", "/version"),
    ],
)
def test_resource_of(path: str, resource: str) -> None:
    """As RBAC spells it."""
    assert refusal.resource_of(path) == resource


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b'{"reason": "AlreadyExists"}', "AlreadyExists"),
        (b'{"reason": 1}', "no reason given"),
        (b"[]", "no reason given"),
        (b"", "no reason given"),
        (orjson.dumps({"reason": "x" * 64}), "no reason given"),
    ],
)
def test_reason_of(answer: bytes, reason: str) -> None:
    """One word, if it is one."""
    assert refusal.reason_of(answer) == reason

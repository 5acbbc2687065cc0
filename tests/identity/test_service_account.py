"""Tests of meshca.identity.service_account."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshca.errors import BadRequest
from meshca.identity.service_account import ServiceAccount

LABELS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True)
SUBDOMAINS = st.lists(LABELS, min_size=1, max_size=3).map(".".join)


@pytest.mark.parametrize("namespace", ["a", "shop", "a-b", "0", "a" * 63])
def test_a_namespace_is_a_label(namespace: str) -> None:
    """DNS-1123 labels of up to 63 characters are namespaces."""
    assert ServiceAccount(namespace=namespace, name="web").namespace == namespace


@pytest.mark.parametrize(
    "namespace",
    ["", "A", "a.b", "-a", "a-", "a_b", "a" * 64, "a\n", "a/b", "a:b", "ä", "٣"],
    ids=[
        "empty",
        "upper",
        "dot",
        "dash-first",
        "dash-last",
        "underscore",
        "64",
        "newline",
        "slash",
        "colon",
        "utf8",
        "digit",
    ],
)
def test_another_namespace_is_refused(namespace: str) -> None:
    """Whatever is not a DNS-1123 label is no namespace."""
    with pytest.raises(BadRequest, match="namespace must be a DNS-1123 label"):
        ServiceAccount(namespace=namespace, name="web")


@pytest.mark.parametrize("name", ["a", "web", "a.b-c.d", "0", ".".join(["a" * 63] * 3), "a" * 253])
def test_a_name_is_a_subdomain(name: str) -> None:
    """DNS-1123 subdomains of up to 253 characters are service account names."""
    assert ServiceAccount(namespace="shop", name=name).name == name


@pytest.mark.parametrize(
    "name",
    ["", "A", ".a", "a.", "a..b", "-a", "a-", "a.-b", "a-.b", "a_b", "a" * 254, "a\n", "a/b", "a:b", "ä"],
    ids=repr,
)
def test_another_name_is_refused(name: str) -> None:
    """Whatever is not a DNS-1123 subdomain is no service account."""
    with pytest.raises(BadRequest, match="service account must be a DNS-1123 subdomain"):
        ServiceAccount(namespace="shop", name=name)


def test_a_username_has_four_parts() -> None:
    """Kubernetes' user name of a service account is read."""
    account = ServiceAccount.parse_username("system:serviceaccount:shop:web")
    assert account == ServiceAccount(namespace="shop", name="web")


@pytest.mark.parametrize(
    "username",
    [
        "",
        "system:serviceaccount",
        "system:serviceaccount:shop",
        "system:serviceaccount:shop:web:x",
        "system:serviceaccount:shop:",
        "system:serviceaccount::web",
        "system:serviceaccounts:shop:web",
        "System:serviceaccount:shop:web",
        " system:serviceaccount:shop:web",
        "system:serviceaccount:shop:web\n",
        "system:node:shop:web",
        "shop:web:system:serviceaccount",
    ],
    ids=repr,
)
def test_another_username_is_refused(username: str) -> None:
    """Too few, too many, empty or other parts are refused (Istio indexed out of range on a short one)."""
    with pytest.raises(BadRequest) as caught:
        ServiceAccount.parse_username(username)
    assert caught.value.reason == "service_account"


def test_a_service_account_prints_as_namespace_and_name() -> None:
    """The text is for people and logs."""
    assert str(ServiceAccount(namespace="shop", name="web")) == "shop/web"


@given(LABELS, SUBDOMAINS)
def test_parsing_undoes_printing_of_the_username(namespace: str, name: str) -> None:
    """Every legal pair survives its user name."""
    account = ServiceAccount.parse_username(f"system:serviceaccount:{namespace}:{name}")
    assert (account.namespace, account.name) == (namespace, name)


@given(st.text() | st.text().map("system:serviceaccount:".__add__))
def test_any_text_is_a_username_or_refused(text: str) -> None:
    """Either a text is the one spelling of a service account, or BadRequest, and nothing else."""
    try:
        account = ServiceAccount.parse_username(text)
    except BadRequest:
        return
    assert f"system:serviceaccount:{account.namespace}:{account.name}" == text

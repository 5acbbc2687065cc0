"""Tests of meshca.admission.spelling."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from meshca.admission import spelling
from meshca.identity.spiffe_id import SpiffeId, TrustDomain

TD = TrustDomain("cluster.local")
WEB = "spiffe://cluster.local/ns/shop/sa/web"


def pattern(text: str) -> str:
    """An identity pattern of our trust domain."""
    return spelling.identity_pattern(text, TD)


@pytest.mark.parametrize(
    ("check", "text"),
    [
        (spelling.rule_name, "a"),
        (spelling.rule_name, "own-identity-2"),
        (spelling.name_pattern, "shop"),
        (spelling.name_pattern, "web.v1"),
        (spelling.name_pattern, "web-*"),
        (spelling.name_pattern, "*-web"),
        (spelling.name_pattern, "*"),
        (spelling.pod_uid, "6d2a3f0e-0000-4000-8000-00000000beef"),
        (spelling.serial, "7a31c5d9"),
        (spelling.serial, "1"),
        (spelling.serial, "f" * 40),
        (spelling.token_id, "0d8c1c5e-6f9d-4a37-b6f3-2f4b8a3f1c11"),
        (pattern, WEB),
        (pattern, "spiffe://cluster.local/ns/shop/*"),
        (pattern, "spiffe://cluster.local/*"),
        (pattern, "*/sa/web"),
        (pattern, "*"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_what_may_be_written(check: Callable[[str], str], text: str) -> None:
    """A spelling that can match is taken as it is."""
    assert check(text) == text


@pytest.mark.parametrize(
    ("check", "text", "expected"),
    [
        (spelling.rule_name, "", "expected a name"),
        (spelling.rule_name, "A", "expected a name"),
        (spelling.rule_name, "a\n", "expected a name"),
        (spelling.rule_name, "a" * 64, "expected a name"),
        (spelling.name_pattern, "", "as prefix"),
        (spelling.name_pattern, "Shop", "as prefix"),
        (spelling.name_pattern, "a*b", "as prefix"),
        (spelling.name_pattern, "*a*", "as prefix"),
        (spelling.name_pattern, "**", "as prefix"),
        (spelling.name_pattern, "shop/web", "as prefix"),
        (spelling.name_pattern, "shop\n", "as prefix"),
        (spelling.pod_uid, "6d2a*", "a pod's UID"),
        (spelling.pod_uid, "", "a pod's UID"),
        (spelling.serial, "7A", "lower-case hexadecimal"),
        (spelling.serial, "7a:31", "lower-case hexadecimal"),
        (spelling.serial, "0x7a", "lower-case hexadecimal"),
        (spelling.serial, "07a", "lower-case hexadecimal"),
        (spelling.serial, "7a*", "lower-case hexadecimal"),
        (spelling.serial, "f" * 41, "lower-case hexadecimal"),
        (spelling.token_id, "0d8c*", "a token's id"),
        (spelling.token_id, "", "a token's id"),
        (pattern, "shop/web", "must begin with spiffe://"),
        (pattern, "spiffe://cluster.local/ns/shop*", "a SPIFFE ID, whole"),
        (pattern, "*web", "a SPIFFE ID, whole"),
        (pattern, "spiffe://cluster.local/*/sa/web", "a SPIFFE ID, whole"),
        (pattern, "spiffe://other/*", "can match nothing"),
        (pattern, "spiffe://cluster.local.evil/*", "can match nothing"),
        (pattern, "spiffe://other/ns/shop/sa/web", "only identities of spiffe://cluster.local are issued"),
        (pattern, "spiffe://cluster.local", "must not be empty"),
    ],
    ids=lambda value: (value if isinstance(value, str) else value.__name__)[:30] or "empty",
)
def test_what_may_not_be_written(check: Callable[[str], str], text: str, expected: str) -> None:
    """A spelling that could never match, or that would match too much, is refused with what was expected."""
    with pytest.raises(ValueError, match=expected):
        check(text)


def test_an_identity_to_grant() -> None:
    """An identity of our own trust domain and form is read."""
    assert spelling.identity(WEB, TD) == SpiffeId.parse(WEB)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("spiffe://other/ns/shop/sa/web", "only identities of spiffe://cluster.local are issued"),
        ("spiffe://cluster.local/gateway", "the path must be /ns/"),
        ("spiffe://cluster.local/ns/Shop/sa/web", "the namespace must be a DNS-1123 label"),
        ("spiffe://cluster.local/ns/shop/sa/*", "each path segment"),
        ("own", "must begin with spiffe://"),
    ],
    ids=["foreign", "shape", "name", "pattern", "word"],
)
def test_an_identity_that_is_never_issued(text: str, expected: str) -> None:
    """What could not be issued can not be granted."""
    with pytest.raises(ValueError, match=expected):
        spelling.identity(text, TD)

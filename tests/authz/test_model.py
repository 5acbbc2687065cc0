"""Policies, workloads and requests as values."""

from __future__ import annotations

import pytest

from meshca.authz.model import Policy, PolicySet, Request
from meshca.errors import BadRequest


def test_rule_names_are_istios() -> None:
    """A rule is named by namespace, policy and position."""
    assert Policy(namespace="shop", name="web.v1").rule_name(3) == "ns[shop]-policy[web.v1]-rule[3]"


def test_sets_have_one_order() -> None:
    """The order in which policies come does not make another set."""
    first, second = Policy(namespace="a", name="b"), Policy(namespace="a", name="a")
    assert PolicySet(policies=(first, second)) == PolicySet(policies=(second, first))


def test_requests_are_what_filters_see() -> None:
    """A path that Envoy would normalise first is not a request to decide over."""
    with pytest.raises(BadRequest, match="resolves"):
        Request(principal=None, method="GET", path="//admin")

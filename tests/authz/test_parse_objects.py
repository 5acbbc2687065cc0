"""Objects that are refused: each fault with its place, one row each."""

from __future__ import annotations

from typing import Any

import pytest

from tests.authz.documents import problems_with


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        pytest.param(
            {"apiVersion": None}, "apiVersion: is missing; expected security.istio.io/v1", id="no-version"
        ),
        pytest.param(
            {"apiVersion": "security.istio.io/v1beta1"},
            "apiVersion: not supported yet; expected security.istio.io/v1",
            id="v1beta1",
        ),
        pytest.param({"kind": None}, "kind: is missing; expected AuthorizationPolicy", id="no-kind"),
        pytest.param(
            {"kind": "RequestAuthentication"},
            "kind: not supported yet; expected AuthorizationPolicy",
            id="other-kind",
        ),
        pytest.param({"status": {}}, "status: not supported yet", id="status"),
        pytest.param(
            {"extra": 1}, "extra: unknown field; known are apiVersion, kind, metadata, spec", id="unknown"
        ),
        pytest.param(
            {"spec": None}, "spec: is missing; write spec: {} for a policy that allows nothing", id="no-spec"
        ),
        pytest.param({"spec": []}, "spec: expected a mapping with action, rules, selector", id="spec-list"),
        pytest.param(
            {"spec": {"action": "AUDIT"}}, "spec.action: not supported yet; expected ALLOW or DENY", id="audit"
        ),
        pytest.param(
            {"spec": {"action": "CUSTOM"}}, "spec.action: not supported yet; expected ALLOW or DENY", id="custom"
        ),
        pytest.param(
            {"spec": {"action": "deny"}}, "spec.action: expected ALLOW or DENY, in capitals", id="lower-case"
        ),
        pytest.param(
            {"spec": {"action": "DENY"}},
            "spec.rules: a DENY policy needs rules; without any it never denies",
            id="deny-without-rules",
        ),
        pytest.param({"spec": {"provider": {"name": "x"}}}, "spec.provider: not supported yet", id="provider"),
        pytest.param({"spec": {"targetRef": {}}}, "spec.targetRef: not supported yet", id="target-ref"),
        pytest.param({"spec": {"targetRefs": []}}, "spec.targetRefs: not supported yet", id="target-refs"),
        pytest.param(
            {"spec": {"rules": [{}] * 513}}, "spec.rules: at most 512 items; split the policy", id="many-rules"
        ),
        pytest.param(
            {"spec": {"selector": {"matchExpressions": []}}},
            "spec.selector.matchExpressions: unknown field; known are matchLabels",
            id="match-expressions",
        ),
        pytest.param(
            {"spec": {"selector": {"matchLabels": []}}},
            "spec.selector.matchLabels: expected a mapping of labels",
            id="labels-list",
        ),
        pytest.param(
            {"spec": {"selector": {"matchLabels": {"app": "*"}}}},
            "spec.selector.matchLabels.'app': no workload can have this label; stars do not work here",
            id="star-label",
        ),
        pytest.param(
            {"spec": {"selector": {"matchLabels": {"app": 1}}}},
            "spec.selector.matchLabels.'app': expected a string; put the value in quotes",
            id="number-label",
        ),
        pytest.param(
            {"spec": {"selector": {"matchLabels": {f"l{n}": "x" for n in range(513)}}}},
            "spec.selector.matchLabels: at most 512 labels",
            id="many-labels",
        ),
        pytest.param(
            {"metadata": {"name": "P", "namespace": "shop"}},
            "metadata: name must be a DNS-1123 subdomain and namespace a DNS-1123 label",
            id="name",
        ),
        pytest.param(
            {"metadata": {"name": "p", "namespace": "a.b"}},
            "metadata: name must be a DNS-1123 subdomain and namespace a DNS-1123 label",
            id="namespace",
        ),
        pytest.param(
            {"metadata": {"name": "p"}},
            "metadata.namespace: expected a string; put the value in quotes",
            id="no-namespace",
        ),
        pytest.param(
            {"metadata": {"name": "p", "namespace": "n", "uid": "x"}},
            "metadata.uid: unknown field; known are annotations, labels, name, namespace",
            id="server-fields",
        ),
        pytest.param(
            {"metadata": {"name": "p", "namespace": "n", "annotations": {"istio.io/dry-run": "true"}}},
            "metadata.annotations: keys of istio.io change what a policy does and are not supported yet",
            id="dry-run",
        ),
        pytest.param(
            {"metadata": {"name": "p", "namespace": "n", "labels": {"istio.io/rev": "x"}}},
            "metadata.labels: keys of istio.io change what a policy does and are not supported yet",
            id="revision",
        ),
        pytest.param(
            {"metadata": {"name": "p", "namespace": "n", "labels": []}},
            "metadata.labels: expected a mapping of strings",
            id="labels-not-mapping",
        ),
        pytest.param(
            {"metadata": {"name": "p", "namespace": "n", "annotations": {"a": 1}}},
            "metadata.annotations.'a': expected a string; put the value in quotes",
            id="annotation-number",
        ),
        pytest.param(
            {"spec": {"rules": [{"to": [{"operation": {"hosts": ["a"]}}]}]}},
            "spec.rules[0].to[0].operation.hosts: not supported yet",
            id="inside-a-rule",
        ),
    ],
)
def test_refuses_objects(changes: dict[str, Any], problem: str) -> None:
    """Each fault is named with file and field."""
    assert problems_with(**changes) == (f"f.yaml: {problem}",)

"""Where the pod of an object is."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from meshca.sidecar.inject_object import KINDS, Outcome, inject
from meshca.sidecar.inject_settings import INBOUND, INJECT, Sidecars
from tests.sidecar.manifests import APP, OTHERS, SETTINGS, Tree, deployment, pod, settings


def workload(group: str, kind: str, template: Tree) -> Tree:
    """An object of a kind around a pod."""
    metadata = {"name": "web", "namespace": "shop"}
    head = {"apiVersion": f"{group}/v1" if group else "v1", "kind": kind, "metadata": metadata}
    body: Any = template
    for step in reversed(KINDS[group, kind]):
        body = {step: body}
    return {**head, **body, **({"metadata": metadata | template["metadata"]} if kind == "Pod" else {})}


def outcomes(document: Any) -> list[tuple[str, str]]:
    """Of every workload."""
    return [(each.workload, each.outcome.value) for each in inject(document, SETTINGS).reports]


def faults(document: Any, **changes: Any) -> list[tuple[str, str, str]]:
    """Workload, field and what is wrong."""
    found = inject(document, settings(**changes)).faults
    return [(each.workload, ".".join(map(str, each.problem.path)), each.problem.text) for each in found]


@pytest.mark.parametrize(("group", "kind"), KINDS)
def test_kinds(group: str, kind: str) -> None:
    """Every workload that Kubernetes itself knows."""
    done = inject(workload(group, kind, pod()), SETTINGS)
    found = done.value
    for step in KINDS[group, kind]:
        found = found[step]
    assert [each["name"] for each in found["spec"]["initContainers"]] == ["meshca-agent", "meshca-envoy"]
    assert [(each.workload, each.outcome) for each in done.reports] == [(f"{kind} shop/web", Outcome.INJECTED)]


@given(OTHERS)
def test_other_documents(document: Any) -> None:
    """Are the same object afterwards."""
    done = inject(document, SETTINGS)
    assert done.value is document
    assert (done.reports, done.faults) == ((), ())


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        "Deployment",
        {"kind": "Deployment"},
        {"kind": ["Deployment"], "apiVersion": "apps/v1"},
        {"kind": "Deployment", "apiVersion": 1},
        deployment() | {"apiVersion": "example.org/v1"},
        deployment() | {"apiVersion": "v1"},
        {"apiVersion": "v1", "kind": "List"},
        {"apiVersion": "v1", "kind": "List", "items": "x"},
    ],
    ids=str,
)
def test_not_ours(document: Any) -> None:
    """Another group's kind of the same name least of all."""
    assert inject(document, SETTINGS).value is document


def test_outcomes() -> None:
    """Injected, then unchanged, then updated; declined when it says so."""
    once = inject(deployment(), SETTINGS).value
    other = inject(once, settings(image="other:1"))
    assert outcomes(deployment()) == [("Deployment shop/web", "injected")]
    assert outcomes(once) == [("Deployment shop/web", "unchanged")]
    assert [each.outcome.value for each in other.reports] == ["updated"]
    assert outcomes(deployment({INJECT: "false"})) == [("Deployment shop/web", "declined")]


def test_unchanged_is_the_same_object() -> None:
    """So that its text is not touched."""
    once = inject(deployment(), SETTINGS).value
    assert inject(once, SETTINGS).value is once


@pytest.mark.parametrize(
    ("metadata", "name"),
    [
        ({"name": "a"}, "default/a"),
        ({"generateName": "a-", "namespace": "b"}, "b/a-*"),
        ({}, "default/(no name)"),
        (None, "default/(no name)"),
    ],
)
def test_names(metadata: Any, name: str) -> None:
    """Told as people know it; the namespace is that of the flag when there is none."""
    assert outcomes(deployment() | {"metadata": metadata}) == [(f"Deployment {name}", "injected")]


def test_lists() -> None:
    """Every item, also of a list in a list; the others stay."""
    config = {"apiVersion": "v1", "kind": "ConfigMap"}
    inner = {"apiVersion": "v1", "kind": "List", "items": [deployment()]}
    document = {"apiVersion": "v1", "kind": "List", "items": [config, deployment({INJECT: "false"}), inner]}
    assert [outcome for _, outcome in outcomes(document)] == ["declined", "injected"]
    assert inject(document, SETTINGS).value["items"][:2] == document["items"][:2]


@pytest.mark.parametrize(
    ("document", "path", "text"),
    [
        (deployment() | {"spec": None}, "spec", "expected a mapping with the pod's template"),
        (deployment() | {"spec": {"template": []}}, "spec.template", "expected a mapping with the pod's template"),
        (deployment(hostNetwork=True), "spec.template.spec.hostNetwork", "shares the node's network"),
        (deployment() | {"metadata": {"namespace": "A"}}, "metadata.namespace", "must be a DNS-1123 label"),
        (
            {"apiVersion": "v1", "kind": "List", "items": [{}, deployment({INBOUND: "x"})]},
            f"items.1.spec.template.metadata.annotations.{INBOUND}",
            "expected PORT",
        ),
    ],
)
def test_faults(document: Any, path: str, text: str) -> None:
    """Their path begins at the document."""
    [(_, place, said)] = faults(document)
    assert (place, text in said) == (path, True)


@pytest.mark.parametrize("kind", ["Job", "CronJob"])
def test_plain_sidecars_never_end(kind: str) -> None:
    """So a job with them would never be done."""
    [(_, path, text)] = faults(workload("batch", kind, pod()), sidecars=Sidecars.PLAIN)
    assert path.endswith("template.spec.containers")
    assert text.startswith(f"plain sidecars would run on when the {kind} has ended")


def test_a_declined_job_may_have_what_it_likes() -> None:
    """Nothing is asked of it."""
    document = workload("batch", "Job", pod({INJECT: "false"}, containers=[APP]))
    assert faults(document, sidecars=Sidecars.PLAIN) == []

"""Manifests with their sidecars: what is added, and that nothing else is touched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from meshca.errors import ConfigError
from meshca.sidecar.inject import Manifests, inject, joined
from meshca.sidecar.inject_object import inject as inject_object
from meshca.sidecar.inject_settings import INBOUND, Settings, Sidecars
from tests.sidecar.manifests import OTHERS, SETTINGS, WORKLOADS, Tree, deployment, settings

GOLDEN = Path(__file__).parent / "golden"
CHOICES = {"native": SETTINGS, "plain": settings(sidecars=Sidecars.PLAIN)}


def injected(text: str, choice: Settings = SETTINGS) -> str:
    """The text after injection."""
    return inject(Manifests(source="a.yaml", text=text), choice).text


def problems(text: str) -> tuple[str, ...]:
    """Why nothing is injected."""
    with pytest.raises(ConfigError) as caught:
        injected(text)
    assert caught.value.source == "a.yaml"
    return caught.value.problems


def is_within(lines: list[str], others: list[str]) -> bool:
    """Whether all lines are among the others, in their order."""
    rest = iter(others)
    return all(line in rest for line in lines)


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("name", ["lines", "brackets", "list"])
def test_golden(name: str, choice: str) -> None:
    """What comes out, to the byte; Envoy's bootstrap is cut short in the files."""
    text = injected((GOLDEN / f"{name}.yaml").read_text(), CHOICES[choice])
    assert shortened(text) == (GOLDEN / f"{name}.{choice}.yaml").read_text()


def shortened(text: str) -> str:
    """Without the bootstrap, which tests of its own look at."""
    kept, column = [], None
    for line in text.splitlines(keepends=True):
        indent = len(line) - len(line.lstrip())
        if column is not None and (indent > column or not line.strip()):
            continue
        column = indent if line.lstrip().startswith("meshca.io/envoy-bootstrap: |") else None
        head, found, rest = line.partition('"meshca.io/envoy-bootstrap": "')
        kept.append(head + found + rest[json.JSONDecoder().raw_decode('"' + rest)[1] - 2 :] if found else line)
    return "".join(kept)


@given(st.lists(OTHERS, max_size=3), st.sampled_from([None, False, True]))
def test_documents_without_pods_stay(documents: Any, flow: Any) -> None:
    """Byte for byte."""
    text = yaml.safe_dump_all(documents, default_flow_style=flow, allow_unicode=True, explicit_start=True)
    assert injected(text) == text


@given(WORKLOADS, OTHERS, st.sampled_from([None, False, True]), st.sampled_from(list(CHOICES)))
def test_twice_is_once(workload: Tree, other: Any, flow: Any, choice: str) -> None:
    """Byte for byte, and what is said is what the value says."""
    text = yaml.safe_dump_all(
        [other, workload, other], default_flow_style=flow, sort_keys=False, allow_unicode=True
    )
    once = injected(text, CHOICES[choice])
    assert injected(once, CHOICES[choice]) == once
    wanted = inject_object(workload, CHOICES[choice]).value
    assert list(yaml.safe_load_all(once)) == [other, wanted, other]


@given(WORKLOADS)
def test_lines_are_only_added(workload: Tree) -> None:
    """Comments, quoting and order stay, whatever stands between."""
    for key in ("initContainers", "volumes"):
        if not workload["spec"]["template"]["spec"].get(key, True):
            del workload["spec"]["template"]["spec"][key]
    text = yaml.safe_dump(workload, sort_keys=False, allow_unicode=True)
    noisy = "# head\n" + text.replace("\nspec:\n", "\n# é\n\nspec:   # c\n")
    assert is_within(noisy.splitlines(), injected(noisy).splitlines())


@given(WORKLOADS, st.sampled_from([None, 2, "\t"]), st.sampled_from(["", "\n"]))
def test_json_stays_json(workload: Tree, indent: Any, end: str) -> None:
    """With its indentation, and injecting twice is injecting once."""
    once = injected(json.dumps(workload, indent=indent) + end)
    wanted = inject_object(workload, SETTINGS).value
    assert once == json.dumps(wanted, indent=indent) + end
    assert injected(once) == once


@given(OTHERS, st.integers(0, 4))
def test_json_without_pods_stays(document: Any, indent: int) -> None:
    """Byte for byte, odd as it may look."""
    text = " \n" + json.dumps(document, indent=indent, ensure_ascii=False) + "\n\n"
    assert injected(text) == text


@pytest.mark.parametrize("text", ["", "\n", "# nothing\n", "---\n", "\ufeff# x\n", "a: 1\r\n", "{a: b}\n", "{}"])
def test_nothing_to_do(text: str) -> None:
    """Not a byte changes."""
    assert injected(text) == text


def test_byte_order_mark() -> None:
    """Stays in front."""
    text = "\ufeff" + yaml.safe_dump(deployment())
    assert injected(text) == "\ufeff" + injected(text[1:])


def test_carriage_returns() -> None:
    """Added lines end as the others do."""
    out = injected(yaml.safe_dump(deployment()).replace("\n", "\r\n"))
    assert out.count("\n") == out.count("\r\n")


def test_two_faults_in_two_documents() -> None:
    """Line, document, workload and field of each; nothing is injected."""
    bad = yaml.safe_dump(deployment(hostNetwork=True), sort_keys=False)
    worse = yaml.safe_dump(deployment({INBOUND: "x"}), sort_keys=False)
    first, second = problems(f"a: 1\n---\n{bad}---\n{worse}")
    assert first.startswith(
        "line 18: document 2, Deployment shop/web: spec.template.spec.hostNetwork: the pod shares"
    )
    assert second == (
        "line 30: document 3, Deployment shop/web: spec.template.metadata.annotations[meshca.io/inbound]: "
        "x: expected PORT:APP_PORT, such as 8443:8080"
    )


@pytest.mark.parametrize(("levels", "place"), [(1, "line 23: document 1, "), (200, "")], ids=["yaml", "no-yaml"])
def test_faults_in_json(levels: int, place: str) -> None:
    """With the line, if it reads as YAML, too."""
    deep = json.loads("[" * levels + "]" * levels)
    [problem] = problems(json.dumps(deployment(hostNetwork=True) | {"x": deep}, indent=2))
    assert problem.startswith(f"{place}Deployment shop/web: spec.template.spec.hostNetwork: the pod shares")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param("a: [\n", "line 2, column 1: did not find expected node content", id="yaml"),
        pytest.param('{"a": 1, "a": 2}', "the key 'a' stands twice in one object; remove one", id="twice-in-json"),
        pytest.param(
            yaml.safe_dump(deployment()) + "kind: Deployment\n",
            "line 16: document 1: a key stands twice in one mapping; remove one of them",
            id="twice",
        ),
        pytest.param(
            "x: &x {a: b}\n"
            + yaml.safe_dump(deployment())
            .replace("annotations:\n", "annotations: *x\n", 1)
            .replace("        meshca.io/inbound: 8443:8080\n", ""),
            "names no ports",
            id="alias-without-ports",
        ),
        pytest.param(
            "x: &x {meshca.io/inbound: '8443:8080'}\n"
            + yaml.safe_dump(deployment())
            .replace("annotations:\n", "annotations: *x\n", 1)
            .replace("        meshca.io/inbound: 8443:8080\n", ""),
            "is an alias; write it out, so that it can be changed",
            id="alias",
        ),
    ],
)
def test_refusals(text: str, problem: str) -> None:
    """Each with its line."""
    [said] = problems(text)
    assert problem in said


@pytest.mark.parametrize(
    ("texts", "whole"),
    [
        ([], ""),
        (["a: 1"], "a: 1"),
        (["a: 1", "b: 2\n"], "a: 1\n---\nb: 2\n"),
        (["a: 1\n", "# c\n\n---\nb: 2\n"], "a: 1\n# c\n\n---\nb: 2\n"),
        (["a: 1\n", "\ufeffb: 2\n"], "a: 1\n---\nb: 2\n"),
        (["{}\n", "{}\n"], "{}\n---\n{}\n"),
    ],
)
def test_joined(texts: list[str], whole: str) -> None:
    """One file as it is, several as one stream."""
    assert joined(texts) == whole

"""Files of policies: all or nothing, every problem with its place."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshca.authz.model import Action, Policy, Rule
from meshca.authz.parse import MAX_PROBLEMS, MAX_TOTAL_BYTES, parse_files
from meshca.errors import ConfigError

EXAMPLES = sorted((Path(__file__).parents[2] / "policies" / "authz").glob("*.yaml"))


def document(**changes: Any) -> dict[str, Any]:
    """A sound policy object with some keys changed; None removes one."""
    whole = {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": "p", "namespace": "shop"},
        "spec": {},
        **changes,
    }
    return {key: value for key, value in whole.items() if value is not None}


def parse_one(**changes: Any) -> Policy:
    """The one policy of a file that holds one."""
    (policy,) = parse_files({"f.yaml": json.dumps(document(**changes))}).policies
    return policy


def problems_of(files: dict[str, str]) -> tuple[str, ...]:
    """The problems that a set of files is refused with."""
    with pytest.raises(ConfigError) as caught:
        parse_files(files)
    return caught.value.problems


def problems_with(**changes: Any) -> tuple[str, ...]:
    """The problems of one file with one object."""
    return problems_of({"f.yaml": json.dumps(document(**changes))})


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_are_sound(path: Path) -> None:
    """Every example that we ship is accepted alone."""
    assert parse_files({path.name: path.read_text()}).policies


def test_examples_are_sound_together() -> None:
    """The folder of examples is one set."""
    assert len(EXAMPLES) > 2
    found = parse_files({path.name: path.read_text() for path in EXAMPLES})
    assert len(found.policies) > 3


def test_no_files_is_no_policy() -> None:
    """Without files there is an empty set, which allows everything as Istio means it."""
    assert parse_files({}).policies == ()


def test_allow_is_the_default() -> None:
    """A policy without action allows; without rules it allows nothing."""
    policy = parse_one()
    assert (policy.action, policy.rules) == (Action.ALLOW, ())


@pytest.mark.parametrize(
    ("spec", "rules"),
    [
        pytest.param({}, (), id="nil-rules"),
        pytest.param({"rules": []}, (), id="no-rules"),
        pytest.param({"rules": [{}]}, (Rule(),), id="everything"),
        pytest.param({"action": "DENY", "rules": [{}]}, (Rule(),), id="deny-everything"),
    ],
)
def test_empties(spec: dict[str, Any], rules: tuple[Rule, ...]) -> None:
    """No rules match nothing, the empty rule matches everything."""
    assert parse_one(spec=spec).rules == rules


def test_selector() -> None:
    """MatchLabels are the labels that a workload must have."""
    labels = {"app": "web", "example.com/tier": "x.y_z", "empty": ""}
    assert parse_one(spec={"selector": {"matchLabels": labels}}).selector == labels


def test_several_documents_and_files() -> None:
    """Objects come from any number of documents and files, and empty documents do not count."""
    second = json.dumps(document(metadata={"name": "q", "namespace": "shop"}))
    text = f"---\n{json.dumps(document())}\n---\n---\n{second}"
    other = json.dumps(document(metadata={"name": "p", "namespace": "a"}))
    found = parse_files({"1.yaml": text, "2.yaml": other}).policies
    assert [(policy.namespace, policy.name) for policy in found] == [("a", "p"), ("shop", "p"), ("shop", "q")]


def test_notes_mean_nothing() -> None:
    """Labels and annotations of the object itself are accepted."""
    metadata = {"name": "p", "namespace": "n", "labels": {"a": "b"}, "annotations": {"c": "d"}}
    assert parse_one(metadata=metadata) == Policy(namespace="n", name="p")


def test_root_namespace() -> None:
    """The root namespace is Istio's unless told otherwise."""
    assert (parse_files({}).root_namespace, parse_files({}, "mesh").root_namespace) == ("istio-system", "mesh")


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


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param("", "f.yaml: holds no policy; write one, or delete the file", id="empty"),
        pytest.param("# all gone\n", "f.yaml: holds no policy; write one, or delete the file", id="comment"),
        pytest.param("- a\n", "f.yaml: expected a mapping of kind AuthorizationPolicy", id="list"),
        pytest.param("a: 1\na: 2\n", "f.yaml: line 2, column 1: duplicate key 'a'", id="duplicate-key"),
        pytest.param("a: &x [1]\nb: *x\n", "f.yaml: line 2, column 4: aliases are not accepted", id="alias"),
        pytest.param("a: " + "[" * 100, "f.yaml: line 1, column 53: nested over 50 levels deep", id="deep"),
        pytest.param("x" * 1_100_000, "f.yaml: the file must be at most 1048576 bytes", id="large"),
        pytest.param("a: [", "f.yaml: line 2, column 1: did not find expected node content", id="half-written"),
    ],
)
def test_refuses_files(text: str, problem: str) -> None:
    """A file that cannot be read whole is refused whole."""
    assert problems_of({"f.yaml": text}) == (problem,)


def test_refuses_too_much() -> None:
    """All files together are bounded."""
    assert problems_of({str(n): "x" * (MAX_TOTAL_BYTES // 8) for n in range(9)}) == (
        f"all files together must be at most {MAX_TOTAL_BYTES} bytes",
    )


def test_refuses_the_same_policy_twice() -> None:
    """One name stands for one policy in all files; the first place is named."""
    text = json.dumps(document())
    assert problems_of({"a.yaml": text, "b.yaml": f"{text}\n---\n{text}"}) == (
        "b.yaml (document 1): metadata: policy shop/p is already in a.yaml; rename or remove one",
        "b.yaml (document 2): metadata: policy shop/p is already in a.yaml; rename or remove one",
    )


def test_lists_every_problem_of_every_file() -> None:
    """Nothing has to be tried twice; one bad file refuses the set."""
    bad = json.dumps(document(spec={"action": "AUDIT", "provider": {}}))
    good = json.dumps(document(metadata={"name": "q", "namespace": "shop"}))
    assert len(problems_of({"a.yaml": bad, "b.yaml": "a: [", "c.yaml": good})) == 3


def test_counts_the_rest() -> None:
    """A wholly wrong file gives a readable number of problems."""
    rules = [{"to": [{"operation": {"paths": ["x"] * 300}}]}]
    found = problems_with(spec={"rules": rules})
    assert (len(found), found[-1]) == (MAX_PROBLEMS + 1, f"and {300 - MAX_PROBLEMS} more")


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=5)
    | st.sampled_from(["*", "ALLOW", "DENY", "/a"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["rules", "from", "to", "source", "operation", "paths", "principals", "action", "selector"]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=20,
)


@given(st.text())
def test_any_text_ends_well(text: str) -> None:
    """Text is a policy set or a ConfigError, never another exception."""
    with contextlib.suppress(ConfigError):
        parse_files({"f": text})


@given(ANYTHING)
def test_any_spec_ends_well(spec: object) -> None:
    """Any tree where a spec should be is a policy set or a ConfigError."""
    with contextlib.suppress(ConfigError):
        parse_files({"f": json.dumps(document(spec=spec))})

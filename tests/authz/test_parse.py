"""Files of policies: all or nothing, every problem with its place."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshca.authz.model import Action, Policy, Rule
from meshca.authz.parse import MAX_PROBLEMS, MAX_TOTAL_BYTES, MAX_VALUES, ParsedFiles, parse_changed, parse_files
from meshca.config import strict_yaml
from meshca.errors import ConfigError
from tests.authz.documents import document, document_text, parse_one, problems_of, problems_with

EXAMPLES = sorted((Path(__file__).parents[2] / "policies" / "authz").glob("*.yaml"))


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


class TestChanged:
    """`parse_changed`: an edit costs what it changes."""

    FILES: ClassVar = {
        f"{n}.yaml": document_text(metadata={"name": f"p{n}", "namespace": "shop"}) for n in range(3)
    }
    OTHER = document_text(metadata={"name": "other", "namespace": "shop"})

    def parsed(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """The names of the files that are parsed from now on."""
        names: list[str] = []
        load_all = strict_yaml.load_all

        def remembered(text: str, source: str) -> list[Any]:
            names.append(source)
            return load_all(text, source)

        monkeypatch.setattr(strict_yaml, "load_all", remembered)
        return names

    def test_only_what_changed_is_parsed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A changed, a new and a renamed file are parsed, others are not, and the set is as if all were."""
        before = parse_changed(self.FILES, "istio-system", ParsedFiles())
        names = self.parsed(monkeypatch)
        files = {"0.yaml": self.FILES["0.yaml"], "1.yaml": self.OTHER, "9.yaml": self.FILES["2.yaml"]}
        found = parse_changed(files, "istio-system", before)
        assert names == ["1.yaml", "9.yaml"]
        assert found.policies == parse_files(files)

    def test_problems_between_files_are_found(self) -> None:
        """A name that an unchanged file has too is a problem of the changed one."""
        before = parse_changed(self.FILES, "istio-system", ParsedFiles())
        with pytest.raises(ConfigError, match=r"1\.yaml: metadata: policy shop/p0 is already in 0\.yaml"):
            parse_changed({**self.FILES, "1.yaml": self.FILES["0.yaml"]}, "istio-system", before)

    def test_root_namespace_may_change(self) -> None:
        """It is that of the set, not of a file."""
        before = parse_changed(self.FILES, "istio-system", ParsedFiles())
        assert parse_changed(self.FILES, "mesh", before).policies == parse_files(self.FILES, "mesh")


@pytest.mark.parametrize(
    ("namespaces", "problem"),
    [
        pytest.param(("shop", "shop"), "namespace shop: 20480 values hold there", id="own"),
        pytest.param(("istio-system", "shop"), "namespace shop: 20480 values hold there", id="own-and-root"),
        pytest.param(("istio-system",) * 2, "namespace istio-system: 20480 values hold there", id="root-alone"),
    ],
)
def test_refuses_more_than_a_filter_can_carry(namespaces: tuple[str, ...], problem: str) -> None:
    """What holds for one workload is bounded, so that its filter fits into a message."""
    rules = [{"to": [{"operation": {"methods": ["GET"] * 512}}]}] * 20
    files = {
        str(index): json.dumps(
            document(metadata={"name": f"p{index}", "namespace": namespace}, spec={"rules": rules})
        )
        for index, namespace in enumerate(namespaces)
    }
    assert problems_of(files) == (f"{problem}, at most {MAX_VALUES}; use fewer",)


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

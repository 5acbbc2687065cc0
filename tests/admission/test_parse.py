"""Tests of meshca.admission.parse and of the file's models: every file that ships, and a row for each refusal."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshca.admission.model import Match, Pattern, Terms
from meshca.admission.parse import parse, shipped, shipped_text
from meshca.errors import ConfigError
from meshca.identity.key_type import KeyType
from meshca.identity.spiffe_id import SpiffeId, TrustDomain

TD = TrustDomain("cluster.local")
FILES = sorted((Path(__file__).parents[2] / "policies" / "admission").glob("*.yaml"))
ALL_KEYS = """
rules:
  - name: everything
    effect: grant
    match:
      issuers: [home]
      namespaces: [shop, test-*]
      service_accounts: [web]
      proven_by: [jwks, client_cert]
      pod_bound: true
      identities: ["*/sa/web"]
      pods: [web-*]
      pod_uids: [6d2a3f0e]
      serials: [7a]
      token_ids: [a3b1]
    grant:
      identity: [spiffe://cluster.local/ns/shop/sa/web]
      max_lifetime: 1h30m
      key_types: [ec-p256]
"""
GRANT = "- {name: a, effect: grant, match: {}, grant: {identity: own}}"


def problems(text: str) -> tuple[str, ...]:
    """Everything that is wrong with a file."""
    with pytest.raises(ConfigError) as caught:
        parse(text, "rules.yaml", TD)
    assert caught.value.source == "rules.yaml"
    return caught.value.problems


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_file_that_ships_is_good(path: Path) -> None:
    """The examples in policies/admission are what the server takes."""
    assert parse(path.read_text(), path.name, TD).rules


def test_there_are_examples() -> None:
    """The folder that the test above walks is not empty."""
    assert "default" in {path.stem for path in FILES}


def test_the_shipped_rules_are_the_file_in_policies() -> None:
    """What is in force by default is what its readers are shown."""
    assert shipped_text() == next(path for path in FILES if path.stem == "default").read_text()
    assert shipped(TD) == parse(shipped_text(), "x", TD)


def test_every_key_is_read() -> None:
    """A file with every key becomes the rule that it says."""
    (rule,) = parse(ALL_KEYS, "rules.yaml", TD).rules
    assert rule.name == "everything"
    assert rule.match == Match(
        patterns=(
            ("issuers", (Pattern("home"),)),
            ("namespaces", (Pattern("shop"), Pattern("test-*"))),
            ("service_accounts", (Pattern("web"),)),
            ("proven_by", (Pattern("jwks"), Pattern("client_cert"))),
            ("pods", (Pattern("web-*"),)),
            ("pod_uids", (Pattern("6d2a3f0e"),)),
            ("serials", (Pattern("7a"),)),
            ("token_ids", (Pattern("a3b1"),)),
            ("identities", (Pattern("*/sa/web"),)),
        ),
        pod_bound=True,
    )
    assert rule.terms == Terms(
        identities=frozenset({SpiffeId.parse("spiffe://cluster.local/ns/shop/sa/web")}),
        max_lifetime=timedelta(minutes=90),
        key_types=frozenset({KeyType.EC_P256}),
    )


def test_what_is_left_out_is_not_limited() -> None:
    """A grant without limits has every key type and the server's own ceiling."""
    (rule,) = parse(f"rules: [{GRANT[2:]}]", "rules.yaml", TD).rules
    assert rule.match == Match(patterns=(), pod_bound=None)
    assert rule.terms == Terms(identities=None, max_lifetime=timedelta(days=90), key_types=frozenset(KeyType))


def test_the_version_follows_the_text() -> None:
    """Another text has another version, the same has the same."""
    first, second = (parse(text, "a", TD).version for text in (ALL_KEYS, ALL_KEYS + "#"))
    assert first != second
    assert parse(ALL_KEYS, "b", TD).version == first


MATCH = "- {name: a, effect: refuse, match: {%s}}"
REFUSED = {
    "nothing": ("", "line 1: the file: expected keys, such as `name: value`; write {} for none"),
    "a list": ("- a", "line 1: the file: expected keys, such as `name: value`; write {} for none"),
    "text": ("rules", "line 1: the file: expected keys, such as `name: value`; write {} for none"),
    "no rules": ("{}", "line 1: rules: is missing; add it"),
    "rules are text": ("rules: a", "line 1: rules: expected a list"),
    "rules are null": ("rules:", "line 1: rules: expected a list"),
    "an unknown key": ("rules: []\nrule: 1", "line 2: rule: unknown key; remove it or correct its spelling"),
    "two documents": ("a: 1\n---\na: 2", "expected one YAML document, found 2; split the file"),
    "a duplicate key": ("rules: []\nrules: []", "line 2, column 1: duplicate key 'rules'"),
    "an alias": ("rules: &a []\nx: *a", "line 2, column 4: aliases are not accepted"),
    "broken YAML": ("rules: [", "line 2, column 1: did not find expected node content"),
    "too large": ("#" * (1024 * 1024 + 1), "the file must be at most 1048576 bytes"),
}
RULES = {
    "an empty list": (
        "",
        "rules: an empty list matches nobody and allows nothing; add an entry, or leave the key out",
    ),
    "a rule that is text": ("- a", "rules[0]: expected keys, such as `name: value`; write {} for none"),
    "no name": ("- {effect: refuse, match: {}}", "rules[0].name: is missing; add it"),
    "a bad name": (
        "- {name: A b, effect: refuse, match: {}}",
        "rules[0].name: expected a name of a-z, 0-9 and inner -, at most 63 characters",
    ),
    "a name that is a number": (
        "- {name: 1, effect: refuse, match: {}}",
        "rules[0].name: expected text; put it in quotes",
    ),
    "the same name twice": (
        f"{GRANT}\n{GRANT}",
        "the file: each name must be used once; used more often: a",
    ),
    "no effect": ("- {name: a, match: {}}", "rules[0].effect: is missing; add it"),
    "an unknown effect": (
        "- {name: a, effect: allow, match: {}}",
        "rules[0].effect: input should be 'grant' or 'refuse'",
    ),
    "no match": ("- {name: a, effect: refuse}", "rules[0].match: is missing; add it"),
    "a null match": (
        "- {name: a, effect: refuse, match: }",
        "rules[0].match: expected keys, such as `name: value`; write {} for none",
    ),
    "an unknown key in a rule": (
        "- {name: a, effect: refuse, match: {}, when: x}",
        "rules[0].when: unknown key; remove it or correct its spelling",
    ),
    "an unknown key in a match": (
        MATCH % "namespace: [a]",
        "rules[0].match.namespace: unknown key; remove it or correct its spelling",
    ),
    "an empty list in a match": (
        MATCH % "pods: []",
        "rules[0].match.pods: an empty list matches nobody and allows nothing; add an entry, or leave the key out",
    ),
    "a null in a match": (MATCH % "namespaces: ", "rules[0].match.namespaces: expected a list"),
    "text for a list": (MATCH % "namespaces: shop", "rules[0].match.namespaces: expected a list"),
    "a number in a list": (
        MATCH % "serials: [77]",
        "rules[0].match.serials[0]: expected text; put it in quotes",
    ),
    "a YAML no in a list": (
        MATCH % "namespaces: [no]",
        "rules[0].match.namespaces[0]: expected text; put it in quotes",
    ),
    "a pattern that can not match": (
        MATCH % "namespaces: [shop, Shop]",
        "rules[0].match.namespaces[1]: expected a name of a-z 0-9 . and -, whole, as prefix*, as *suffix or as *",
    ),
    "a serial as openssl prints it": (
        MATCH % "serials: ['7A:31']",
        (
            "rules[0].match.serials[0]: expected a serial in lower-case hexadecimal without colons and leading"
            " zeros, as `meshca ledger` shows"
        ),
    ),
    "a pattern of UIDs": (
        MATCH % "pod_uids: ['6d*']",
        "rules[0].match.pod_uids[0]: expected a pod's UID as `kubectl get pod -o yaml` shows it",
    ),
    "an identity pattern of another trust domain": (
        MATCH % "identities: [spiffe://other/*]",
        "rules[0].match.identities[0]: can match nothing: only identities of spiffe://cluster.local are issued",
    ),
    "an unknown proof": (
        MATCH % "proven_by: [magic]",
        "rules[0].match.proven_by[0]: input should be 'jwks', 'token_review', 'client_cert' or 'node_proxy'",
    ),
    "pod_bound as text": (MATCH % "pod_bound: 'yes'", "rules[0].match.pod_bound: expected true or false"),
    "pod_bound null": (
        MATCH % "pod_bound: ",
        "rules[0].match: pod_bound must be true or false; leave it out when either will do",
    ),
    "a grant without grant": (
        "- {name: a, effect: grant, match: {}}",
        "rules[0]: effect: grant needs a grant, such as `grant: {identity: own}`",
    ),
    "a refusal with grant": (
        "- {name: a, effect: refuse, match: {}, grant: {identity: own}}",
        "rules[0]: effect: refuse must not have a grant; remove it",
    ),
}
GRANTS = {
    "no identity": ("max_lifetime: 1h", "identity: is missing; add it"),
    "another word": ("identity: self", "identity: expected own, or a list of SPIFFE IDs"),
    "null": ("identity: ", "identity: expected own, or a list of SPIFFE IDs"),
    "no identities": (
        "identity: []",
        "identity: an empty list matches nobody and allows nothing; add an entry, or leave the key out",
    ),
    "a number": ("identity: [7]", "identity[0]: expected a SPIFFE ID"),
    "a foreign identity": (
        "identity: [spiffe://other/ns/a/sa/b]",
        "identity[0]: only identities of spiffe://cluster.local are issued",
    ),
    "an unknown key": (
        "identity: own, lifetime: 1h",
        "lifetime: unknown key; remove it or correct its spelling",
    ),
    "a lifetime without unit": (
        "identity: own, max_lifetime: 3600",
        "max_lifetime: expected a duration with a unit, such as 24h, 10m, 90s or 250ms",
    ),
    "no lifetime": ("identity: own, max_lifetime: 0s", "max_lifetime: must be longer than 0s"),
    "a lifetime over the ceiling": ("identity: own, max_lifetime: 91d", "max_lifetime: must be at most 90d"),
    "an unknown key type": (
        "identity: own, key_types: [ed25519]",
        "key_types[0]: input should be 'ec-p256', 'ec-p384' or 'rsa'",
    ),
    "no key types": (
        "identity: own, key_types: []",
        "key_types: an empty list matches nobody and allows nothing; add an entry, or leave the key out",
    ),
}


@pytest.mark.parametrize(("text", "problem"), REFUSED.values(), ids=REFUSED)
def test_a_file_that_is_no_rule_file_is_refused(text: str, problem: str) -> None:
    """What is not one YAML document with the key `rules` is refused with its place."""
    assert problem in problems(text)


@pytest.mark.parametrize(("rules", "problem"), RULES.values(), ids=RULES)
def test_a_bad_rule_is_refused(rules: str, problem: str) -> None:
    """What could silently mean nothing, or too much, is refused with its path."""
    text = f"rules:\n{rules}" if rules else "rules: []"
    assert [found.partition(": ")[2] for found in problems(text)] == [problem]


@pytest.mark.parametrize(("grant", "problem"), GRANTS.values(), ids=GRANTS)
def test_a_bad_grant_is_refused(grant: str, problem: str) -> None:
    """What can not be granted is refused with its path."""
    text = f"rules:\n- {{name: a, effect: grant, match: {{}}, grant: {{{grant}}}}}"
    assert problems(text) == (f"line 2: rules[0].grant.{problem}",)


def test_all_problems_are_listed_with_their_lines() -> None:
    """One reading shows everything that is to mend."""
    text = """\
rules:
  - name: first
    effect: refuse
    match:
      namespaces:
        - shop
        - Shop
      serials: ["0A"]
  - name: Second
    effect: grant
    match: {}
    grant:
      identity: own
      max_lifetime: 1y
"""
    assert [problem.split(": ")[:2] for problem in problems(text)] == [
        ["line 7", "rules[0].match.namespaces[1]"],
        ["line 8", "rules[0].match.serials[0]"],
        ["line 9", "rules[1].name"],
        ["line 14", "rules[1].grant.max_lifetime"],
    ]


def test_rules_hold_in_one_trust_domain() -> None:
    """The same file may be good in one trust domain and bad in another."""
    assert parse(ALL_KEYS, "a", TD).trust_domain == TD
    with pytest.raises(ConfigError):
        parse(ALL_KEYS, "a", TrustDomain("other"))


YAML_TREES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=8)
    | st.sampled_from(["own", "grant", "refuse", "*"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["rules", "name", "effect", "match", "grant", "identity", "namespaces", "pod_bound", "x"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(st.text() | YAML_TREES.map(repr) | st.lists(YAML_TREES, max_size=3).map(lambda rules: f"rules: {rules!r}"))
def test_any_text_is_a_rule_set_or_refused(text: str) -> None:
    """Whatever the file holds, either there is a rule set or a ConfigError with at least one problem."""
    try:
        assert parse(text, "rules.yaml", TD).rules
    except ConfigError as error:
        assert error.problems  # noqa: PT017 - either outcome is right, neither is empty

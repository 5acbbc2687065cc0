"""Facts about which remote clusters Secrets ask for."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshca.kube.kubeconfig_secrets import (
    EMPTY,
    NOT_A_LABEL,
    RESERVED,
    TAKEN,
    KubeconfigSecret,
    plan,
    read_secret,
)
from meshca.secret import Secret
from tests.fakes.kubeconfigs import secret_item

HOME = frozenset({"home", "Kubernetes"})


def test_each_key_is_a_cluster() -> None:
    """A Secret may hold several kubeconfigs."""
    planned = plan([read_secret(secret_item("s", {"east": "e", "west": "w"}))], HOME)
    assert {name: one.kubeconfig.reveal() for name, one in planned.wanted.items()} == {"east": b"e", "west": b"w"}
    assert planned.refused == ()


@pytest.mark.parametrize(
    ("cluster_id", "text", "problem"),
    [
        ("home", "x", RESERVED),
        ("Kubernetes", "x", RESERVED),
        ("East", "x", NOT_A_LABEL),
        ("a.b", "x", NOT_A_LABEL),
        ("-a", "x", NOT_A_LABEL),
        ("a" * 64, "x", NOT_A_LABEL),
        ("east\n", "x", NOT_A_LABEL),
        ("", "x", NOT_A_LABEL),
        ("east", "", EMPTY),
    ],
    ids=["home", "alias", "upper case", "dot", "dash", "long", "line", "no name", "no value"],
)
def test_refused(cluster_id: str, text: str, problem: str) -> None:
    """A key that cannot be a cluster's name is reported; what is beside it in the Secret is followed."""
    planned = plan([read_secret(secret_item("s", {cluster_id: text, "west": "w"}))], HOME)
    assert [(one.secret, one.cluster_id, one.problem) for one in planned.refused] == [("s", cluster_id, problem)]
    assert list(planned.wanted) == ["west"]


def test_the_older_secret_counts() -> None:
    """A new Secret cannot take over a cluster that an older one gives, whatever it is called."""
    old = read_secret(secret_item("z", {"east": "old"}, "2026-01-01T00:00:00Z"))
    new = read_secret(secret_item("a", {"east": "new"}, "2026-01-02T00:00:00Z"))
    planned = plan([new, old], HOME)
    assert planned.wanted["east"].kubeconfig == Secret(b"old")
    assert [(one.secret, one.problem) for one in planned.refused] == [("a", TAKEN)]


def test_a_value_that_is_not_base64() -> None:
    """It is reported like an empty one."""
    planned = plan([read_secret({"metadata": {"name": "s"}, "data": {"east": "!", "west": None}})], HOME)
    assert [one.problem for one in planned.refused] == [EMPTY, EMPTY]


def test_a_secret_without_data() -> None:
    """It asks for nothing."""
    assert plan([read_secret({"metadata": {"name": "s"}})], HOME).wanted == {}


SECRETS = st.lists(
    st.builds(
        KubeconfigSecret,
        name=st.text("ab", min_size=1, max_size=3),
        created=st.sampled_from(["1", "2"]),
        kubeconfigs=st.dictionaries(
            st.sampled_from(["home", "Kubernetes", "east", "west", "X"]), st.binary(max_size=2).map(Secret)
        ),
    ),
    unique_by=lambda secret: secret.name,
)


@given(SECRETS, st.randoms())
def test_home_is_never_given_away(secrets: list[KubeconfigSecret], rng: random.Random) -> None:
    """No Secrets, in any order, give a name of the home cluster, and the order changes nothing."""
    planned = plan(secrets, HOME)
    assert not HOME & planned.wanted.keys()
    keys = sum(len(secret.kubeconfigs) for secret in secrets)
    assert len(planned.wanted) + len(planned.refused) == keys
    shuffled = list(secrets)
    rng.shuffle(shuffled)
    assert plan(shuffled, HOME) == planned

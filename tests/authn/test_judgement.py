"""What an API server's answer and a pod prove: every way to be wrong is a refusal of its own."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshca.authn.claims import MAX_LABELS, Expectation
from meshca.authn.cluster import Review
from meshca.authn.judgement import EXTRA, GROUP, bound_pod, judge
from meshca.errors import Unauthenticated
from meshca.identity.caller import BoundObject, Caller, ProvenBy
from meshca.identity.service_account import ServiceAccount
from tests.fakes.callers import NOW
from tests.fakes.cluster import pod

UNTIL = NOW + timedelta(hours=1)
SUBJECT = "system:serviceaccount:shop:web"
EXPECTED = Expectation(issuer="home", audiences=frozenset({"istio-ca", "other"}), leeway=timedelta(0))
GOOD = Review(
    authenticated=True,
    username=SUBJECT,
    groups=frozenset({GROUP, "system:serviceaccounts:shop", "system:authenticated"}),
    audiences=frozenset({"istio-ca"}),
    extra={
        EXTRA + "pod-name": ["web-0"],
        EXTRA + "pod-uid": ["uid-web"],
        EXTRA + "node-name": ["node-1"],
        EXTRA + "node-uid": ["uid-node"],
        EXTRA + "credential-id": ["JTI=a3b1"],
        "example.org/other": ["x", "y"],
    },
)


def judged(review: Review = GOOD, subject: object = SUBJECT) -> Caller:
    """The caller that a review of a token with this subject proves."""
    return judge(review, {"sub": subject}, EXPECTED, now=NOW, until=UNTIL)


def with_extra(name: str, *values: str) -> Review:
    """A good review but for one extra."""
    return replace(GOOD, extra={**GOOD.extra, EXTRA + name: list(values)})


def without(*names: str) -> Review:
    """A good review that lacks some extras."""
    return replace(GOOD, extra={key: value for key, value in GOOD.extra.items() if key not in _full(names)})


def _full(names: tuple[str, ...]) -> set[str]:
    return {EXTRA + name for name in names}


def refusal(call: Any, *arguments: Any) -> str:
    """The reason of the refusal."""
    with pytest.raises(Unauthenticated) as caught:
        call(*arguments)
    reason: str = caught.value.reason
    return reason


def test_a_good_review() -> None:
    """Account, pod, node and token id come of the answer; the id is written as `jti` is."""
    assert judged() == Caller(
        account=ServiceAccount(namespace="shop", name="web"),
        proven_by=ProvenBy.TOKEN_REVIEW,
        issuer="home",
        pod=BoundObject(name="web-0", uid="uid-web"),
        node=BoundObject(name="node-1", uid="uid-node"),
        token_id="a3b1",
        proven_at=NOW,
        until=UNTIL,
    )


@pytest.mark.parametrize(
    ("review", "reason"),
    [
        (replace(GOOD, authenticated=False), "token_refused"),
        (replace(GOOD, audiences=frozenset()), "token_audience"),
        (replace(GOOD, audiences=frozenset({"https://kubernetes.default.svc"})), "token_audience"),
        (replace(GOOD, username=""), "token_subject"),
        (replace(GOOD, groups=frozenset()), "token_group"),
        (replace(GOOD, groups=frozenset({"system:serviceaccounts:shop"})), "token_group"),
        (without("pod-uid"), "review_extra"),
        (without("pod-name"), "review_extra"),
        (without("node-uid"), "review_extra"),
        (without("node-name"), "review_extra"),
        (with_extra("pod-name"), "review_extra"),
        (with_extra("pod-name", "web-0", "web-1"), "review_extra"),
        (with_extra("pod-uid", ""), "review_extra"),
        (with_extra("pod-name", "a\nb"), "review_extra"),
        (with_extra("node-name", "n" * 254), "review_extra"),
        (with_extra("credential-id", "a3b1"), "review_extra"),
        (with_extra("credential-id", "JTI="), "review_extra"),
        (with_extra("credential-id", "JTI=a", "JTI=b"), "review_extra"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_review_that_proves_nobody(review: Review, reason: str) -> None:
    """Each with its own reason."""
    assert refusal(judged, review) == reason


@pytest.mark.parametrize(
    "username",
    [
        "system:serviceaccount:shop",
        "system:serviceaccount:shop:web:x",
        "system:serviceaccount:shop:",
        "system:serviceaccount::web",
        "system:serviceaccount:Shop:web",
        "system:serviceaccount:shop:web\n",
        "system:node:node-1",
        "alice",
    ],
)
def test_who_is_no_service_account(username: str) -> None:
    """Exactly four parts, each a name of Kubernetes."""
    assert refusal(judged, replace(GOOD, username=username), username) == "token_subject"


@pytest.mark.parametrize("subject", ["system:serviceaccount:shop:api", "", None, ["x"]])
def test_a_token_that_names_somebody_else(subject: object) -> None:
    """Its end is read from the token, so the token must be of the one who was reviewed."""
    assert refusal(judged, GOOD, subject) == "token_subject"


def test_no_text_outweighs_the_verdict() -> None:
    """`authenticated` decides, whatever else is said."""
    assert judged(replace(GOOD, error="invalid bearer token")).account.name == "web"
    assert refusal(judged, replace(GOOD, authenticated=False, error="")) == "token_refused"


def test_a_token_that_is_bound_to_nothing() -> None:
    """Proves its account; no pod, node or id is made up."""
    caller = judged(without("pod-name", "pod-uid", "node-name", "node-uid", "credential-id"))
    assert (caller.pod, caller.node, caller.token_id) == (None, None, "")


@given(
    extra=st.dictionaries(
        st.sampled_from(["pod-name", "pod-uid", "node-name", "node-uid", "credential-id"]).map(EXTRA.__add__),
        st.lists(st.text(max_size=5), max_size=2),
    )
)
def test_any_extras(extra: dict[str, list[str]]) -> None:
    """A pod is never without name and uid, and nothing but a refusal is raised."""
    try:
        caller = judged(replace(GOOD, extra=extra))
    except Unauthenticated as error:
        assert error.reason == "review_extra"  # noqa: PT017 - both ends are good
    else:
        assert caller.pod is None or (caller.pod.name and caller.pod.uid)


BOUND = judged()


def test_a_living_pod() -> None:
    """It is the one that speaks."""
    assert bound_pod(BOUND, pod()) == pod()


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (None, "pod_unknown"),
        (pod(uid="uid-of-its-successor"), "pod_unknown"),
        (pod(account=ServiceAccount(namespace="shop", name="api")), "pod_account"),
        (pod(finished=True), "pod_finished"),
        (pod(labels={f"label-{number}": "" for number in range(MAX_LABELS + 1)}), "pod_labels"),
    ],
    ids=["gone", "re-created", "another account", "finished", "too many labels"],
)
def test_a_pod_that_may_not_speak(found: Any, reason: str) -> None:
    """Each with its own reason."""
    assert refusal(bound_pod, BOUND, found) == reason

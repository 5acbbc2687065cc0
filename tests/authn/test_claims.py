"""Tests of meshca.authn.claims."""

from __future__ import annotations

import copy
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshca.authn.claims import LATEST, MAX_LABELS, Expectation, read_claims
from meshca.clock import SystemClock
from meshca.errors import Unauthenticated
from meshca.identity.caller import BoundObject, Caller, ProvenBy
from meshca.identity.service_account import ServiceAccount
from tests.fakes.callers import NOW
from tests.fakes.clock import FakeClock
from tests.fakes.tokens import LABELS_CLAIM, FakeIssuer

NOW_S = int(NOW.timestamp())
LEEWAY = timedelta(seconds=10)
EXPECTED = Expectation(issuer="home", audiences=frozenset({"istio-ca", "meshca"}), leeway=LEEWAY)
WITH_LABELS = Expectation(
    issuer="home", audiences=frozenset({"istio-ca"}), leeway=LEEWAY, labels_claim=LABELS_CLAIM
)


def claims(**changes: Any) -> dict[str, Any]:
    """Good claims, changed; None takes a claim away."""
    return FakeIssuer(FakeClock(NOW)).claims(**changes)


def bound(**changes: object) -> dict[str, Any]:
    """Good claims with the claim kubernetes.io changed; None takes a member away."""
    found = copy.deepcopy(claims())
    found["kubernetes.io"] = {k: v for k, v in {**found["kubernetes.io"], **changes}.items() if v is not None}
    return found


def read(found: dict[str, Any], expected: Expectation = EXPECTED) -> Caller:
    """The caller that claims describe now."""
    return read_claims(found, expected, NOW)


def reason(found: dict[str, Any], expected: Expectation = EXPECTED) -> str:
    """Why claims are refused."""
    with pytest.raises(Unauthenticated) as caught:
        read(found, expected)
    return caught.value.reason


def test_what_a_kubelets_token_says() -> None:
    """Account, binding, token id and end are carried, the issuer under our own name."""
    assert read(claims()) == Caller(
        account=ServiceAccount(namespace="shop", name="web"),
        proven_by=ProvenBy.JWKS,
        issuer="home",
        pod=BoundObject(name="web-7d4b9-x2x1z", uid="6d2a3f0e"),
        node=BoundObject(name="node-1", uid="0f9d8c7b"),
        token_id="0d8c1c5e-6f9d-4a37-b6f3-2f4b8a3f1c11",
        proven_at=NOW,
        until=NOW + timedelta(hours=1),
    )


@pytest.mark.parametrize(
    "found",
    [claims(**{"kubernetes.io": None}), bound(pod=None, node=None)],
    ids=["no claim kubernetes.io", "no pod in it"],
)
def test_an_unbound_token(found: dict[str, Any]) -> None:
    """Without a pod the caller is unbound; admission decides what that is worth."""
    caller = read(found)
    assert (caller.pod, caller.node) == (None, None)


def test_a_token_without_an_id() -> None:
    """`jti` is optional (Kubernetes before 1.30)."""
    assert read(claims(jti=None)).token_id == ""


@pytest.mark.parametrize(
    "audience", ["istio-ca", ["istio-ca"], ["x", "meshca"]], ids=["text", "list", "one of several"]
)
def test_an_audience_of_ours(audience: object) -> None:
    """At least one of ours must be there."""
    assert read(claims(aud=audience)).issuer == "home"


TIMES = {
    "exp now": (claims(exp=NOW_S), ""),
    "exp within leeway": (claims(exp=NOW_S - 9), ""),
    "exp at the leeway": (claims(exp=NOW_S - 10), "token_expired"),
    "exp long ago": (claims(exp=1), "token_expired"),
    "exp with a fraction": (claims(exp=NOW_S - 9.5), ""),
    "nbf within leeway": (claims(nbf=NOW_S + 10), ""),
    "nbf ahead": (claims(nbf=NOW_S + 11), "token_not_yet_valid"),
    "iat within leeway": (claims(iat=NOW_S + 10), ""),
    "iat ahead": (claims(iat=NOW_S + 11), "token_not_yet_valid"),
    "no nbf": (claims(nbf=None), ""),
    "no iat": (claims(iat=None), ""),
    "the last second there is": (claims(exp=LATEST), ""),
}


@pytest.mark.parametrize(("found", "expected"), TIMES.values(), ids=TIMES)
def test_times(found: dict[str, Any], expected: str) -> None:
    """exp, nbf and iat are honoured, with the configured leeway."""
    assert (reason(found) if expected else read(found).issuer and "") == expected


@pytest.mark.parametrize(
    ("ago", "expected"), [(59, ""), (60, "token_expired"), (3000, "token_expired")], ids=["59", "60", "3000"]
)
def test_leeway_has_a_ceiling(ago: int, expected: str) -> None:
    """Whatever is configured, a token is dead 60 s after its end."""
    hour = Expectation(issuer="home", audiences=frozenset({"istio-ca"}), leeway=timedelta(hours=1))
    found = claims(exp=NOW_S - ago)
    assert (reason(found, hour) if expected else read(found, hour).issuer and "") == expected


REFUSED = {
    "no exp": (claims(exp=None), "token_claims"),
    "exp text": (claims(exp=str(NOW_S + 60)), "token_claims"),
    "exp true": (claims(exp=True), "token_claims"),
    "exp a list": (claims(exp=[NOW_S]), "token_claims"),
    "exp zero": (claims(exp=0), "token_claims"),
    "exp negative": (claims(exp=-1), "token_claims"),
    "exp beyond all dates": (claims(exp=LATEST + 1), "token_claims"),
    "exp enormous": (claims(exp=1e300), "token_claims"),
    "exp not a number": (claims(exp=float("nan")), "token_claims"),
    "exp infinite": (claims(exp=float("inf")), "token_claims"),
    "nbf text": (claims(nbf="now"), "token_claims"),
    "nbf null": ({**claims(), "nbf": None}, "token_claims"),
    "iat text": (claims(iat="now"), "token_claims"),
    "no aud": (claims(aud=None), "token_claims"),
    "aud a number": (claims(aud=1), "token_claims"),
    "aud an object": (claims(aud={"istio-ca": 1}), "token_claims"),
    "aud a list with a number": (claims(aud=["istio-ca", 1]), "token_claims"),
    "aud empty": (claims(aud=[]), "token_audience"),
    "aud another": (claims(aud=["https://kubernetes.default.svc"]), "token_audience"),
    "aud a prefix": (claims(aud="istio-ca-2"), "token_audience"),
    "aud in upper case": (claims(aud="ISTIO-CA"), "token_audience"),
    "no sub": (claims(sub=None), "token_claims"),
    "sub a list": (claims(sub=["system:serviceaccount:shop:web"]), "token_claims"),
    "sub of a user": (claims(sub="alice"), "token_subject"),
    "sub of a node": (claims(sub="system:node:node-1"), "token_subject"),
    "sub short": (claims(sub="system:serviceaccount:shop"), "token_subject"),
    "sub long": (claims(sub="system:serviceaccount:shop:web:x"), "token_subject"),
    "sub in upper case": (claims(sub="system:serviceaccount:Shop:web"), "token_subject"),
    "sub with a newline": (claims(sub="system:serviceaccount:shop:web\n"), "token_subject"),
    "sub with a slash": (claims(sub="system:serviceaccount:shop:web/../x"), "token_subject"),
    "another namespace in kubernetes.io": (bound(namespace="other"), "token_subject"),
    "another account in kubernetes.io": (bound(serviceaccount={"name": "api", "uid": "1"}), "token_subject"),
    "kubernetes.io text": ({**claims(), "kubernetes.io": "x"}, "token_claims"),
    "kubernetes.io null": ({**claims(), "kubernetes.io": None}, "token_claims"),
    "no namespace in kubernetes.io": (bound(namespace=None), "token_claims"),
    "no account in kubernetes.io": (bound(serviceaccount=None), "token_claims"),
    "account without name": (bound(serviceaccount={"uid": "1"}), "token_claims"),
    "pod text": (bound(pod="web-1"), "token_claims"),
    "pod without uid": (bound(pod={"name": "web-1"}), "token_claims"),
    "pod without name": (bound(pod={"uid": "1"}), "token_claims"),
    "pod with an empty uid": (bound(pod={"name": "web-1", "uid": ""}), "token_claims"),
    "pod with a newline": (bound(pod={"name": "web\n1", "uid": "1"}), "token_claims"),
    "pod with a long name": (bound(pod={"name": "a" * 254, "uid": "1"}), "token_claims"),
    "pod an empty object": (bound(pod={}), "token_claims"),
    "node without uid": (bound(node={"name": "node-1"}), "token_claims"),
    "jti a number": (claims(jti=7), "token_claims"),
    "jti empty": (claims(jti=""), "token_claims"),
}


@pytest.mark.parametrize(("found", "expected"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(found: dict[str, Any], expected: str) -> None:
    """Each breach has its reason."""
    assert reason(found) == expected


LABELS = {"app": "web", "app.kubernetes.io/name": "web", "empty": "", "version": "v1.2_3-x"}


def test_labels_of_a_trusted_issuer() -> None:
    """An issuer that is trusted for labels gives the workload's labels, read-only."""
    found = read(claims(**{LABELS_CLAIM: LABELS}), WITH_LABELS).labels
    assert found == LABELS
    assert isinstance(found, MappingProxyType)


def test_labels_of_another_issuer_are_none() -> None:
    """Without `labels_claim` the claim is not looked at, well-formed or not."""
    assert dict(read(claims(**{LABELS_CLAIM: LABELS})).labels) == {}
    assert dict(read(claims(**{LABELS_CLAIM: 7})).labels) == {}


def test_a_token_without_labels() -> None:
    """A trusted issuer need not give labels."""
    assert dict(read(claims(), WITH_LABELS).labels) == {}


@pytest.mark.parametrize(
    "labels",
    [
        "app=web",
        ["app"],
        {"app": 1},
        {"app": None},
        {"": "web"},
        {"-app": "web"},
        {"app": "-web"},
        {"app": "w eb"},
        {"app": "web\n"},
        {"a/b/c": "web"},
        {"A/b": "web"},
        {"app": "a" * 64},
        {"a" * 64: "web"},
        {f"a{number}": "x" for number in range(MAX_LABELS + 1)},
    ],
    ids=lambda value: repr(value)[:24],
)
def test_labels_that_kubernetes_would_not_have(labels: object) -> None:
    """Policies match on labels, so they are what Kubernetes' labels can be."""
    assert reason(claims(**{LABELS_CLAIM: labels}), WITH_LABELS) == "token_claims"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(["exp", "nbf", "iat", "aud", "sub", "jti", "kubernetes.io", LABELS_CLAIM])
TREES = st.dictionaries(NAMES, VALUES, max_size=8).map(lambda changes: {**claims(), **changes})


@given(
    TREES
    | st.dictionaries(st.sampled_from(["namespace", "serviceaccount", "pod", "node"]), VALUES).map(
        lambda c: bound(**c)
    )
)
def test_any_claims_are_a_caller_or_refused(found: dict[str, Any]) -> None:
    """Whatever an issuer signs, a caller or the one error comes of it."""
    try:
        caller = read(found, WITH_LABELS)
    except Unauthenticated as error:
        assert error.reason.startswith("token_")  # noqa: PT017 - a caller is right too
        return
    assert found["sub"] == f"system:serviceaccount:{caller.account.namespace}:{caller.account.name}"
    assert caller.until > NOW - LEEWAY


OFFSETS = st.sampled_from([-3600, -30, -5, 5, 30, 3600])  # seconds; none so near a border that a tick matters


@given(OFFSETS, OFFSETS, OFFSETS, st.sampled_from(["istio-ca", "other", ["other", "istio-ca"]]))
def test_the_library_agrees(exp: int, nbf: int, iat: int, aud: object) -> None:
    """PyJWT's own checks of times and audience come to the same end as ours."""
    issuer, now = FakeIssuer(SystemClock()), datetime.now(UTC)
    begin = int(now.timestamp())
    found = issuer.claims(exp=begin + exp, nbf=begin + nbf, iat=begin + iat, aud=aud)
    try:
        ours = bool(read_claims(found, EXPECTED, now))
    except Unauthenticated:
        ours = False
    try:
        theirs = bool(
            jwt.decode(
                issuer.sign(found), issuer.key.public_key(), ["ES256"], audience=EXPECTED.audiences, leeway=10
            )
        )
    except jwt.InvalidTokenError:
        theirs = False
    assert ours == theirs

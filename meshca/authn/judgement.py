"""What an API server's answer and a pod prove. Pure.

An answer is believed in one way only: `authenticated` decides, our audience must be repeated (one that does not
is from an authenticator that knows of no audiences), and the account must be the one that the token itself names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from meshca.authn.claims import MAX_LABELS, Expectation
from meshca.authn.cluster import Pod, Review
from meshca.errors import BadRequest, Unauthenticated
from meshca.identity.caller import BoundObject, Caller, ProvenBy
from meshca.identity.service_account import ServiceAccount

GROUP: Final = "system:serviceaccounts"
EXTRA: Final = "authentication.kubernetes.io/"  # k8s.io/apiserver pkg/authentication/serviceaccount
_CREDENTIAL_ID: Final = "JTI="
_MAX_TEXT: Final = 253  # the longest name of an object in Kubernetes


def judge(
    review: Review, claims: Mapping[str, Any], expected: Expectation, *, now: datetime, until: datetime
) -> Caller:
    """The caller that a review proves; whether its pod still lives is for `bound_pod` to say.

    Args:
        review: what the API server said.
        claims: of the reviewed token.
        expected: the audiences that were asked for, and our name of the cluster.
        now: when it was asked.
        until: when the token ends.

    Raises:
        Unauthenticated: reason `token_refused`, `token_audience`, `token_subject`, `token_group` or
            `review_extra`.
    """
    if not review.authenticated:
        raise Unauthenticated("token_refused", f"the API server says: {review.error or 'not authenticated'}")
    if review.audiences.isdisjoint(expected.audiences):
        names = ", ".join(sorted(expected.audiences))
        raise Unauthenticated("token_audience", f"the review names none of {names}")
    account = _account(review.username, claims)
    if GROUP not in review.groups:
        raise Unauthenticated("token_group", f"the reviewed user is not in {GROUP}")
    return Caller(
        account=account,
        proven_by=ProvenBy.TOKEN_REVIEW,
        issuer=expected.issuer,
        pod=_bound(review.extra, "pod"),
        node=_bound(review.extra, "node"),
        token_id=_token_id(review.extra),
        proven_at=now,
        until=until,
    )


def bound_pod(caller: Caller, pod: Pod | None) -> Pod:
    """The pod that a proof is bound to, as the cluster knows it now, if it may still speak.

    Args:
        caller: bound to a pod.
        pod: what the cluster knows under that name; None for nothing.

    Raises:
        Unauthenticated: reason `pod_unknown`, `pod_account`, `pod_finished` or `pod_labels`.
    """
    if pod is None or caller.pod is None or pod.uid != caller.pod.uid:
        raise Unauthenticated("pod_unknown", "the pod that the token is bound to does not exist any more")
    if pod.account != caller.account:
        raise Unauthenticated("pod_account", f"the pod runs as {pod.account}, not as {caller.account}")
    if pod.finished:
        raise Unauthenticated("pod_finished", "the pod has Succeeded or Failed")
    if len(pod.labels) > MAX_LABELS:  # left out, they would take policies away that select the pod
        raise Unauthenticated("pod_labels", f"the pod has more than {MAX_LABELS} labels")
    return pod


def _account(username: str, claims: Mapping[str, Any]) -> ServiceAccount:
    if claims.get("sub") != username:
        raise Unauthenticated("token_subject", "the review and the token name different accounts")
    try:
        return ServiceAccount.parse_username(username)
    except BadRequest as error:
        raise Unauthenticated("token_subject", error.detail) from None


def _bound(extra: Mapping[str, Sequence[str]], kind: str) -> BoundObject | None:
    """A pod or node, when both its name and its uid are there; one of the two alone is no binding we know."""
    name, uid = _one(extra, f"{kind}-name"), _one(extra, f"{kind}-uid")
    if not name and not uid:
        return None
    if not name or not uid:
        raise Unauthenticated("review_extra", f"{kind}-name and {kind}-uid must come together")
    return BoundObject(name=name, uid=uid)


def _token_id(extra: Mapping[str, Sequence[str]]) -> str:
    """`jti` of the token, which the API server writes as JTI=<jti>; empty when it says none."""
    value = _one(extra, "credential-id")
    if value and (not value.startswith(_CREDENTIAL_ID) or value == _CREDENTIAL_ID):
        raise Unauthenticated("review_extra", "credential-id must be JTI=<id>")
    return value.removeprefix(_CREDENTIAL_ID)


def _one(extra: Mapping[str, Sequence[str]], name: str) -> str:
    """The one value of an extra; empty when it is absent."""
    values = extra.get(EXTRA + name)
    if values is None:
        return ""
    if len(values) != 1 or not 0 < len(values[0]) <= _MAX_TEXT or not values[0].isprintable():
        raise Unauthenticated("review_extra", f"{name} must be one printable text of 1 to {_MAX_TEXT} characters")
    return values[0]

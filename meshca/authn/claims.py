"""What a verified token says: for whom it is, when it holds, and whose it is. Pure.

The layout is Kubernetes': `sub` is system:serviceaccount:<namespace>:<name>, and the claim `kubernetes.io`
says the same again, with the pod and node that the token is bound to. Not checked here: the signature, and
whether pod and account still exist (only the API server knows that).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any, Final

from meshca.config.authn import MAX_LEEWAY
from meshca.errors import BadRequest, Unauthenticated
from meshca.identity.caller import NO_LABELS, BoundObject, Caller, ProvenBy
from meshca.identity.service_account import ServiceAccount

LATEST: Final = 253_402_300_799 - 86_400  # a day before the last that a datetime can hold: leeway is added to it
MAX_LABELS: Final = 64
_MAX_TEXT: Final = 253  # the longest name of an object in Kubernetes
# k8s.io/apimachinery util/validation IsQualifiedName and IsValidLabelValue
_LABEL_NAME: Final = re.compile(
    r"([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
)
_LABEL_VALUE: Final = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What we expect of the tokens of one issuer.

    Attributes:
        issuer: our name for it, carried into the caller.
        audiences: at least one of them must be in `aud`; never empty.
        leeway: tolerance for the clocks; more than 60 s counts as 60 s.
        labels_claim: claim with workload labels; None when this issuer is not trusted for labels.
    """

    issuer: str
    audiences: frozenset[str]
    leeway: timedelta
    labels_claim: str | None = None


def read_claims(claims: Mapping[str, Any], expected: Expectation, now: datetime) -> Caller:
    """The caller that the claims of a token with a verified signature describe.

    Raises:
        Unauthenticated: reason `token_claims` (missing or of a wrong type), `token_expired`,
            `token_not_yet_valid`, `token_audience` or `token_subject`.
    """
    until = read_times(claims, min(expected.leeway, MAX_LEEWAY), now)
    _check_audience(claims.get("aud"), expected.audiences)
    account = _account(claims.get("sub"))
    bound = _bound_claim(claims, account)
    return Caller(
        account=account,
        proven_by=ProvenBy.JWKS,
        issuer=expected.issuer,
        pod=_bound_object(bound, "pod"),
        node=_bound_object(bound, "node"),
        token_id=_text(claims, "jti") if "jti" in claims else "",
        proven_at=now,
        until=until,
        labels=_labels(claims, expected.labels_claim),
    )


def read_times(claims: Mapping[str, Any], leeway: timedelta, now: datetime) -> datetime:
    """When a token ends; it must be valid now (RFC 7519 sections 4.1.4-4.1.6).

    Raises:
        Unauthenticated: reason `token_claims`, `token_expired` or `token_not_yet_valid`.
    """
    until, instant, tolerance = _time(claims, "exp"), now.timestamp(), leeway.total_seconds()
    if instant >= until + tolerance:
        raise Unauthenticated("token_expired", f"exp was {instant - until:.0f} s ago")
    for name in ("nbf", "iat"):
        if name in claims and instant < (begin := _time(claims, name)) - tolerance:
            raise Unauthenticated("token_not_yet_valid", f"{name} is {begin - instant:.0f} s ahead")
    return datetime.fromtimestamp(until, UTC)


def _check_audience(audience: object, expected: frozenset[str]) -> None:
    found = [audience] if isinstance(audience, str) else audience
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        raise Unauthenticated("token_claims", "aud must be text or a list of text")
    if expected.isdisjoint(found):
        raise Unauthenticated("token_audience", f"aud holds none of {', '.join(sorted(expected))}")


def _account(subject: object) -> ServiceAccount:
    if not isinstance(subject, str):
        raise Unauthenticated("token_claims", "sub must be text")
    try:
        return ServiceAccount.parse_username(subject)
    except BadRequest as error:
        raise Unauthenticated("token_subject", error.detail) from None


def _bound_claim(claims: Mapping[str, Any], account: ServiceAccount) -> Mapping[str, Any]:
    """The claim `kubernetes.io`, which must name the account of `sub`; empty when absent."""
    if "kubernetes.io" not in claims:
        return {}
    bound = _object(claims, "kubernetes.io")
    if (
        _text(bound, "namespace") != account.namespace
        or _text(_object(bound, "serviceaccount"), "name") != account.name
    ):
        raise Unauthenticated("token_subject", "sub and kubernetes.io name different service accounts")
    return bound


def _bound_object(bound: Mapping[str, Any], kind: str) -> BoundObject | None:
    if kind not in bound:
        return None
    found = _object(bound, kind)
    return BoundObject(name=_text(found, "name"), uid=_text(found, "uid"))


def _labels(claims: Mapping[str, Any], name: str | None) -> Mapping[str, str]:
    if name is None or name not in claims:
        return NO_LABELS
    labels = _object(claims, name)
    if len(labels) > MAX_LABELS:
        raise Unauthenticated("token_claims", f"{name} must hold at most {MAX_LABELS} labels")
    for key, value in labels.items():
        if not _LABEL_NAME.fullmatch(key) or not isinstance(value, str) or not _LABEL_VALUE.fullmatch(value):
            raise Unauthenticated("token_claims", f"{name} must hold labels as Kubernetes spells them")
    return MappingProxyType(dict(labels))


def _time(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= LATEST:
        raise Unauthenticated("token_claims", f"{name} must be a time in seconds")
    return float(value)


def _object(claims: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = claims.get(name)
    if not isinstance(value, dict):
        raise Unauthenticated("token_claims", f"{name} must be an object")
    return value


def _text(claims: Mapping[str, Any], name: str) -> str:
    value = claims.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= _MAX_TEXT or not value.isprintable():
        raise Unauthenticated("token_claims", f"{name} must be printable text of 1 to {_MAX_TEXT} characters")
    return value

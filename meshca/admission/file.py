"""The admission rule file as its author writes it, before it becomes a rule set; nothing here decides.

rules:
  - name: own-identity-of-a-pod
    effect: grant                    # or refuse, which wins wherever it stands
    match: {pod_bound: true}         # every key must match; within a list one entry is enough
    grant: {identity: own}           # or a list of SPIFFE IDs; max_lifetime and key_types are optional
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Self, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, ValidationInfo, model_validator

from meshca.admission import spelling
from meshca.admission.model import Effect
from meshca.config.model import Model, PositiveDuration
from meshca.config.server import MAX_LIFETIME
from meshca.identity.caller import ProvenBy
from meshca.identity.key_type import KeyType
from meshca.identity.spiffe_id import SpiffeId, TrustDomain

T = TypeVar("T")


def _trust_domain(info: ValidationInfo) -> TrustDomain:
    context: Any = info.context
    domain: TrustDomain = context["trust_domain"]
    return domain


def _identity_pattern(value: str, info: ValidationInfo) -> str:
    return spelling.identity_pattern(value, _trust_domain(info))


def _identity(value: object, info: ValidationInfo) -> SpiffeId:
    if not isinstance(value, str):
        raise ValueError("expected a SPIFFE ID")  # noqa: TRY004 - pydantic wants ValueError
    return spelling.identity(value, _trust_domain(info))


def _own(value: object) -> object:
    if value != "own" and not isinstance(value, list):
        raise ValueError("expected own, or a list of SPIFFE IDs")
    return None if value == "own" else value


def _not_over_ceiling(value: timedelta) -> timedelta:
    if value > MAX_LIFETIME:
        raise ValueError(f"must be at most {MAX_LIFETIME.days}d")
    return value


def _filled(value: tuple[T, ...]) -> tuple[T, ...]:
    # Not pydantic's min_length: it also speaks up when entries were refused one by one.
    if not value:
        raise ValueError("an empty list matches nobody and allows nothing; add an entry, or leave the key out")
    return value


Names = Annotated[
    tuple[Annotated[str, AfterValidator(spelling.name_pattern)], ...], Field(strict=False), AfterValidator(_filled)
]
Uids = Annotated[
    tuple[Annotated[str, AfterValidator(spelling.pod_uid)], ...], Field(strict=False), AfterValidator(_filled)
]
Serials = Annotated[
    tuple[Annotated[str, AfterValidator(spelling.serial)], ...], Field(strict=False), AfterValidator(_filled)
]
TokenIds = Annotated[
    tuple[Annotated[str, AfterValidator(spelling.token_id)], ...], Field(strict=False), AfterValidator(_filled)
]
Patterns = Annotated[
    tuple[Annotated[str, AfterValidator(_identity_pattern)], ...], Field(strict=False), AfterValidator(_filled)
]
Proofs = Annotated[
    tuple[Annotated[ProvenBy, Field(strict=False)], ...], Field(strict=False), AfterValidator(_filled)
]
KeyTypes = Annotated[
    tuple[Annotated[KeyType, Field(strict=False)], ...], Field(strict=False), AfterValidator(_filled)
]
Identities = Annotated[
    tuple[Annotated[SpiffeId, PlainValidator(_identity)], ...], Field(strict=False), AfterValidator(_filled)
]


class MatchEntry(Model):
    """Which callers and wishes; a key that is left out matches everything.

    Attributes:
        issuers: our configured name of the issuer whose token began the chain of proofs.
        namespaces: the caller's namespace.
        service_accounts: the name of the caller's service account, without its namespace.
        proven_by: how the caller was proven now.
        pod_bound: true for proofs bound to a pod, false for others.
        identities: the identity that is asked for.
        pods: the name of the caller's pod.
        pod_uids: the UID of the caller's pod, whole.
        serials: the serial of the certificate shown, whole; its own renewals have other serials.
        token_ids: the id of the token that began the chain of proofs, whole; renewals keep it.
    """

    issuers: Names = ()
    namespaces: Names = ()
    service_accounts: Names = ()
    proven_by: Proofs = ()
    pod_bound: bool | None = None
    identities: Patterns = ()
    pods: Names = ()
    pod_uids: Uids = ()
    serials: Serials = ()
    token_ids: TokenIds = ()

    @model_validator(mode="before")
    @classmethod
    def _no_nulls(cls, value: object) -> object:
        if isinstance(value, dict) and value.get("pod_bound", True) is None:
            raise ValueError("pod_bound must be true or false; leave it out when either will do")
        return value


class GrantEntry(Model):
    """What a granting rule gives.

    Attributes:
        identity: `own` (None), or the identities that may be asked for.
        max_lifetime: of a certificate; the server's own maximum when absent.
        key_types: all that meshca knows when absent.
    """

    identity: Annotated[Identities | None, BeforeValidator(_own)]
    max_lifetime: Annotated[PositiveDuration, AfterValidator(_not_over_ceiling)] = MAX_LIFETIME
    key_types: KeyTypes = tuple(KeyType)


class RuleEntry(Model):
    """One rule; `match: {}` is everybody."""

    name: Annotated[str, AfterValidator(spelling.rule_name)]
    effect: Annotated[Effect, Field(strict=False)]
    match: MatchEntry
    grant: GrantEntry | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.effect is Effect.GRANT and self.grant is None:
            raise ValueError("effect: grant needs a grant, such as `grant: {identity: own}`")
        if self.effect is Effect.REFUSE and self.grant is not None:
            raise ValueError("effect: refuse must not have a grant; remove it")
        return self


class RuleFile(Model):
    """The whole file. An empty list would deny everybody, which is rather a mistake than a wish."""

    rules: Annotated[tuple[RuleEntry, ...], Field(strict=False), AfterValidator(_filled)]

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        names = [rule.name for rule in self.rules]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"each name must be used once; used more often: {', '.join(twice)}")
        return self

"""What may be written in each place of an admission rule file: checks of one text each, for `file`.

A refusing rule with a pattern that can never match would be an emergency brake that does not brake, so each
key accepts only patterns that some caller could match.
"""

from __future__ import annotations

import re
from typing import Final

from meshca.errors import BadRequest
from meshca.identity.spiffe_id import SpiffeId, TrustDomain

_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_KUBERNETES: Final = re.compile(r"\*|\*?[a-z0-9.-]{1,253}|[a-z0-9.-]{1,253}\*")
_IDENTITY: Final = re.compile(r"\*|\*/[a-zA-Z0-9._/-]+|spiffe://[a-zA-Z0-9._/-]+/\*")
_SERIAL: Final = re.compile(r"[1-9a-f][0-9a-f]{0,39}")  # at most 20 bytes, RFC 5280 section 4.1.2.2
_TOKEN_ID: Final = re.compile(r"[0-9A-Za-z._:=-]{1,253}")  # Kubernetes' are UUIDs
_UID: Final = re.compile(r"[0-9A-Za-z-]{1,128}")


def rule_name(text: str) -> str:
    """A rule's name.

    Raises:
        ValueError: as all of this module, for pydantic.
    """
    return _shaped(text, _NAME, "a name of a-z, 0-9 and inner -, at most 63 characters")


def name_pattern(text: str) -> str:
    """A pattern for names of Kubernetes objects and of our issuers."""
    return _shaped(text, _KUBERNETES, "a name of a-z 0-9 . and -, whole, as prefix*, as *suffix or as *")


def pod_uid(text: str) -> str:
    """A pod's UID, whole."""
    return _shaped(text, _UID, "a pod's UID as `kubectl get pod -o yaml` shows it")


def serial(text: str) -> str:
    """A certificate's serial, whole and in our one spelling."""
    return _shaped(
        text,
        _SERIAL,
        "a serial in lower-case hexadecimal without colons and leading zeros, as `meshca ledger` shows",
    )


def token_id(text: str) -> str:
    """A token's `jti`, whole."""
    return _shaped(text, _TOKEN_ID, "a token's id as `meshca ledger` shows it")


def identity_pattern(text: str, trust_domain: TrustDomain) -> str:
    """A pattern for wanted identities; a star stands at a slash, since ns/shop* would also match ns/shop-test."""
    if "*" not in text:
        return str(identity(text, trust_domain))
    _shaped(text, _IDENTITY, "a SPIFFE ID, whole, as spiffe://.../*, as */... or as *")
    if text.startswith("spiffe:") and not text.startswith(f"{trust_domain.id}/"):
        raise ValueError(f"can match nothing: only identities of {trust_domain.id} are issued")
    return text


def identity(text: str, trust_domain: TrustDomain) -> SpiffeId:
    """An identity of the form that we issue, in our own trust domain."""
    try:
        value = SpiffeId.parse(text)
        value.service_account()
    except BadRequest as error:
        raise ValueError(error.detail) from None
    if value.trust_domain != trust_domain:
        raise ValueError(f"only identities of {trust_domain.id} are issued")
    return value


def _shaped(text: str, shape: re.Pattern[str], expected: str) -> str:
    if not shape.fullmatch(text):
        raise ValueError(f"expected {expected}")
    return text

"""Asks an API server about tokens, and for the keys that sign them.

Its answer is read eagerly and strictly: one that has not the shape of a TokenReview tells nothing of the token,
so that is our call's failure. Must never put a token, or a stranger's text that holds it, into an error or a log.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import orjson

from meshca.authn.cluster import Review
from meshca.errors import NotFound, Unavailable
from meshca.kube.api import Api, Conflict, Rejected, Tree
from meshca.secret import Secret

REVIEWS: Final = "/apis/authentication.k8s.io/v1/tokenreviews"
DISCOVERY: Final = "/.well-known/openid-configuration"
KEYS: Final = "/openid/v1/jwks"
KEYS_TYPE: Final = "application/jwk-set+json"  # application/json is answered with 406
MAX_ANSWER: Final = 256 * 1024  # bytes; it repeats the token, and lists of a user's groups
_MAX_ERROR: Final = 300  # characters of the API server's reason, for the log


class ApiReviewer:
    """The port `authn.cluster.Reviewer`."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def review(self, unverified_token: Secret[str], audiences: Sequence[str]) -> Review:
        """What the API server says of a token for one of these audiences.

        Raises:
            Unavailable: it cannot be asked, or its answer cannot be understood (reason `review_answer`).
        """
        token = unverified_token.reveal()
        if not token:  # answered with 400, which would look like a fault of ours
            return Review(authenticated=False, error="the token is empty")
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": list(audiences)},
        }
        try:
            answer = await self._api.create(REVIEWS, body, largest=MAX_ANSWER)
        except (Rejected, NotFound, Conflict) as error:
            raise Unavailable("review_call", error.detail) from None
        return read_review(answer, self._api.name, unverified_token)

    async def fetch(self) -> bytes:
        """The cluster's JWK Set.

        Raises:
            Unavailable: reason `issuer_keys`.
        """
        return orjson.dumps(await self._public(KEYS, KEYS_TYPE))

    async def issuer(self) -> str:
        """The `iss` of the tokens that the cluster signs now.

        Raises:
            Unavailable: reason `issuer_keys`.
        """
        answer: object = await self._public(DISCOVERY, "")
        found = answer.get("issuer") if isinstance(answer, dict) else None
        if not isinstance(found, str) or not found:
            raise Unavailable("issuer_keys", f"{self._api.name}: {DISCOVERY} names no issuer")
        return found

    async def _public(self, path: str, accept: str) -> Tree:
        try:
            return await self._api.get(path, accept=accept, largest=MAX_ANSWER)
        except (Rejected, NotFound, Conflict, Unavailable) as error:
            raise Unavailable("issuer_keys", error.detail) from None


def read_review(answer: object, cluster: str, unverified_token: Secret[str]) -> Review:
    """The status of a TokenReview (authentication.k8s.io/v1); of a bad token only that it is bad.

    Raises:
        Unavailable: reason `review_answer`.
    """
    try:
        status = _object(_object(answer), "status")
        if not _flag(status, "authenticated"):
            return Review(authenticated=False, error=_harmless(_text(status, "error"), unverified_token))
        user = _object(status, "user")
        return Review(
            authenticated=True,
            username=_text(user, "username"),
            groups=frozenset(_texts(user.get("groups"), "groups")),
            audiences=frozenset(_texts(status.get("audiences"), "audiences")),
            extra=MappingProxyType(
                {name: _texts(values, "extra") for name, values in _object(user, "extra").items()}
            ),
        )
    except TypeError as error:
        raise Unavailable(
            "review_answer", f"{cluster}: an answer to a token review has no usable {error}"
        ) from None


# A field that is absent or null is empty; of another type it is a TypeError with the field's name.
def _object(value: object, name: str = "") -> Mapping[str, Any]:
    found = value.get(name) if name and isinstance(value, dict) else value
    if found is None and name:
        return {}
    if not isinstance(found, dict):
        raise TypeError(name or "object")
    return found


def _flag(value: Mapping[str, Any], name: str) -> bool:
    found = value.get(name)
    if found is not None and not isinstance(found, bool):
        raise TypeError(name)
    return found or False


def _text(value: Mapping[str, Any], name: str) -> str:
    found = value.get(name)
    if found is not None and not isinstance(found, str):
        raise TypeError(name)
    return found or ""


def _texts(found: object, name: str) -> tuple[str, ...]:
    if found is None:
        return ()
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise TypeError(name)
    return tuple(found)


def _harmless(error: str, unverified_token: Secret[str]) -> str:
    if not error.isprintable() or unverified_token.reveal() in error:
        return "not authenticated; its reason is unfit to be logged"
    return error[:_MAX_ERROR]

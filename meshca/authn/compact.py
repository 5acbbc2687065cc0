"""A bearer token taken apart, before anything in it is known to be true.

JWS compact serialization (RFC 7515 section 3.1) in its one spelling: three segments, base64url without padding
and without leftover bits, a header of `alg`, `kid` and `typ` only. The claims may be used for nothing but
choosing the issuer until `keys` has verified the signature. Verifying is PyJWT's work; taking apart is done
here because its own full path costs three times the RSA verification itself.
"""

from __future__ import annotations

import binascii
import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from meshca.errors import Unauthenticated

MAX_TOKEN_BYTES: Final = 16 * 1024  # a kubelet's token has about 1 KB; gRPC's own limit for all headers is 8 KB
MAX_HEADER_CHARS: Final = 1024
_HEADER_NAMES: Final = frozenset({"alg", "kid", "typ"})  # JWT-SVID.md rules J2-J5: no crit, b64, jku, jwk, x5c
_TYPES: Final = ("JWT", "JOSE")  # or absent, JWT-SVID.md rule J4; Kubernetes sends none
# base64url to base64; what base64url does not have becomes a character that base64 does not have either.
_TO_BASE64: Final = bytes.maketrans(b"-_+/=", b"+/\0\0\0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """The protected header, unverified: it says which key and algorithm to try.

    Attributes:
        algorithm: `alg`.
        key_id: `kid`, None when absent.
    """

    algorithm: str
    key_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class UnverifiedToken:
    """The parts of a token.

    Attributes:
        header: which key and algorithm it claims.
        unverified_claims: the payload; to be believed only after the signature was verified.
        signing_input: what was signed.
        signature: raw bytes.
    """

    header: Header
    unverified_claims: Mapping[str, Any]
    signing_input: bytes
    signature: bytes


def check_size(unverified_token: str) -> None:
    """Refuse a token that is too large to be looked at.

    Raises:
        Unauthenticated: reason `token_too_large`.
    """
    if len(unverified_token) > MAX_TOKEN_BYTES:
        raise Unauthenticated("token_too_large", f"a token must be at most {MAX_TOKEN_BYTES} bytes")


def take_apart(unverified_token: str) -> UnverifiedToken:
    """Split and decode a token.

    Raises:
        Unauthenticated: reason `token_too_large`, before anything is decoded, or `token_malformed`.
    """
    check_size(unverified_token)
    try:
        token = unverified_token.encode("ascii")
    except UnicodeEncodeError:
        raise _malformed("a token must be ASCII") from None
    segments = token.split(b".")
    if len(segments) != 3:
        raise _malformed("expected three segments: header, payload and signature")
    return UnverifiedToken(
        header=_header(segments[0]),
        unverified_claims=_claims(segments[1]),
        signing_input=token[: token.rindex(b".")],
        signature=_decoded(segments[2]),
    )


# Tokens of one issuer share one header until its key changes. Failures are not kept.
@functools.lru_cache(maxsize=64)
def _header(segment: bytes) -> Header:
    if len(segment) > MAX_HEADER_CHARS:
        raise _malformed(f"the header must have at most {MAX_HEADER_CHARS} characters")
    try:
        header = json.loads(_decoded(segment).decode("utf-8"), object_pairs_hook=_distinct)
    except (ValueError, RecursionError):
        raise _malformed("the header must be a JSON object in UTF-8 with distinct names") from None
    if not isinstance(header, dict) or not header.keys() <= _HEADER_NAMES:
        raise _malformed("the header must be a JSON object of alg, kid and typ")
    algorithm, key_id = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or ("kid" in header and not (isinstance(key_id, str) and key_id)):
        raise _malformed("alg must be text, and kid text or absent")
    if "typ" in header and header["typ"] not in _TYPES:
        raise _malformed("typ must be JWT, JOSE or absent")
    return Header(algorithm=algorithm, key_id=key_id)


def _distinct(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("duplicate name")
    return found


def _claims(segment: bytes) -> dict[str, Any]:
    try:
        claims = orjson.loads(_decoded(segment))
    except orjson.JSONDecodeError:
        raise _malformed("the payload must be JSON") from None
    if not isinstance(claims, dict):
        raise _malformed("the payload must be a JSON object")
    return claims


def _decoded(segment: bytes) -> bytes:
    text = segment.translate(_TO_BASE64)
    try:
        raw = binascii.a2b_base64(text + b"==="[: -len(text) % 4], strict_mode=True)
    except binascii.Error:
        raise _malformed("a segment must be base64url without padding") from None
    # One spelling: the bits that are left over in the last character must be zero.
    if binascii.b2a_base64(raw, newline=False).rstrip(b"=") != text:
        raise _malformed("a segment must be base64url in its shortest form")
    return raw


def _malformed(detail: str) -> Unauthenticated:
    return Unauthenticated("token_malformed", detail)

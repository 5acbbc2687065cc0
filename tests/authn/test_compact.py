"""Tests of meshca.authn.compact: one spelling of a token, each other one refused by its row."""

from __future__ import annotations

import base64

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshca.authn.compact import MAX_HEADER_CHARS, MAX_TOKEN_BYTES, Header, UnverifiedToken, take_apart
from meshca.errors import Unauthenticated
from tests.fakes.tokens import assembled, ec_key, encoded

HEADER = {"alg": "ES256", "kid": "k1"}
CLAIMS = {"iss": "a", "exp": 1}
GOOD = assembled(HEADER, CLAIMS)


def reason(token: str) -> str:
    """Why a token is refused."""
    with pytest.raises(Unauthenticated) as caught:
        take_apart(token)
    return caught.value.reason


def test_the_parts_of_a_token() -> None:
    """Header, claims, what was signed, and the signature."""
    assert take_apart(GOOD) == UnverifiedToken(
        header=Header(algorithm="ES256", key_id="k1"),
        unverified_claims=CLAIMS,
        signing_input=GOOD.rpartition(".")[0].encode(),
        signature=b"signature",
    )


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "a"},
        {"alg": "a", "kid": "k"},
        {"alg": "a", "typ": "JWT"},
        {"alg": "a", "typ": "JOSE"},
        {"typ": "JWT", "alg": ""},
    ],
    ids=["alg only", "kid", "JWT", "JOSE", "order"],
)
def test_headers_that_are_read(header: dict[str, str]) -> None:
    """JWT-SVID rules J3 and J4: kid is optional, typ absent, JWT or JOSE."""
    assert take_apart(assembled(header, CLAIMS)).header == Header(
        algorithm=header["alg"], key_id=header.get("kid")
    )


PAYLOAD = encoded(CLAIMS)
HEAD = encoded(HEADER)
REFUSED = {
    "empty": "",
    "one segment": HEAD,
    "two segments": f"{HEAD}.{PAYLOAD}",
    "four segments": f"{HEAD}.{PAYLOAD}.c2ln.c2ln",
    "five segments, as encryption": f"{HEAD}.{PAYLOAD}.a.b.c",
    "empty segments": "..",
    "no header": f".{PAYLOAD}.c2ln",
    "no payload": f"{HEAD}..c2ln",
    "a scheme before it": f"Bearer {GOOD}",
    "a newline after it": f"{GOOD}\n",
    "a space inside": f"{HEAD}. {PAYLOAD}.c2ln",
    "not ASCII": f"{HEAD}.{PAYLOAD}.ä",
    "a lone surrogate": f"{HEAD}.{PAYLOAD}.\udc80",
    "padding": f"{HEAD}.{PAYLOAD}.c2k=",
    "base64 instead of base64url": f"{HEAD}.{PAYLOAD}.+/+/",
    "a length that no base64 has": f"{HEAD}.{PAYLOAD}.c2lnA",
    "leftover bits": f"{HEAD}.{PAYLOAD}.c2l",
    "payload no JSON": assembled(HEADER, b"{"),
    "payload a list": assembled(HEADER, []),
    "payload not UTF-8": assembled(HEADER, b'{"a":"\xff"}'),
    "payload with NaN": assembled(HEADER, b'{"exp":NaN}'),
    "payload nested": assembled(HEADER, b"[" * 5000),
    "header no JSON": assembled(b"{", CLAIMS),
    "header a list": assembled([], CLAIMS),
    "header text": assembled("alg", CLAIMS),
    "header in UTF-16": assembled('{"alg":"ES256"}'.encode("utf-16"), CLAIMS),
    "header nested": assembled(b'{"alg":' + b"[" * 700, CLAIMS),
    "header with a name twice": assembled(b'{"alg":"none","alg":"ES256"}', CLAIMS),
    "header too long": assembled({**HEADER, "kid": "k" * MAX_HEADER_CHARS}, CLAIMS),
    "no alg": assembled({"kid": "k1"}, CLAIMS),
    "alg a list": assembled({"alg": ["ES256"]}, CLAIMS),
    "alg null": assembled({"alg": None}, CLAIMS),
    "kid a number": assembled({"alg": "ES256", "kid": 1}, CLAIMS),
    "kid empty": assembled({"alg": "ES256", "kid": ""}, CLAIMS),
    "typ another": assembled({**HEADER, "typ": "at+jwt"}, CLAIMS),
    "typ in lower case": assembled({**HEADER, "typ": "jwt"}, CLAIMS),
    "typ null": assembled({**HEADER, "typ": None}, CLAIMS),
    "kid null": assembled({"alg": "ES256", "kid": None}, CLAIMS),
    "typ a list": assembled({**HEADER, "typ": []}, CLAIMS),
    "crit": assembled({**HEADER, "crit": ["exp"]}, CLAIMS),
    "b64": assembled({**HEADER, "b64": False, "crit": ["b64"]}, CLAIMS),
    "jku, a key from anywhere": assembled({**HEADER, "jku": "https://evil"}, CLAIMS),
    "jwk, a key brought along": assembled({**HEADER, "jwk": {}}, CLAIMS),
    "x5c": assembled({**HEADER, "x5c": []}, CLAIMS),
    "zip": assembled({**HEADER, "zip": "DEF"}, CLAIMS),
}


@pytest.mark.parametrize("token", REFUSED.values(), ids=REFUSED)
def test_another_spelling_is_refused(token: str) -> None:
    """What is not one strict compact JWS is refused, and nothing else is raised."""
    assert reason(token) == "token_malformed"


def test_the_largest_token() -> None:
    """A token of 16 KiB is looked at."""
    room = MAX_TOKEN_BYTES - len(assembled(HEADER, {"x": ""}, b""))
    token = assembled(HEADER, {"x": "a" * (room * 3 // 4 - 2)}, b"")
    assert MAX_TOKEN_BYTES - 8 < len(token) <= MAX_TOKEN_BYTES
    assert take_apart(token).signature == b""


@pytest.mark.parametrize(
    "token",
    ["a" * (MAX_TOKEN_BYTES + 1), "." * 1_000_000, "ä" * 1_000_000],
    ids=["one more", "1 MB", "1 MB of UTF-8"],
)
def test_a_larger_token_is_not_looked_at(token: str) -> None:
    """Beyond 16 KiB nothing is decoded."""
    assert reason(token) == "token_too_large"


def test_a_refused_header_stays_refused() -> None:
    """Remembering headers remembers no failure as a success."""
    for _ in range(3):
        assert reason(assembled({"alg": "ES256", "crit": []}, CLAIMS)) == "token_malformed"
        assert take_apart(GOOD).header.algorithm == "ES256"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
HEADERS = st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit"]), st.sampled_from(["ES256", "JWT"]) | JSON)
TOKENS = (
    st.text()
    | st.lists(st.binary(max_size=30).map(lambda raw: base64.urlsafe_b64encode(raw).decode()), max_size=4).map(
        ".".join
    )
    | st.builds(assembled, HEADERS | JSON, JSON, st.binary(max_size=70))
)


@given(TOKENS)
def test_any_text_is_taken_apart_or_refused(token: str) -> None:
    """Whatever a client sends, the one error comes back; what is taken apart goes back together."""
    try:
        parts = take_apart(token)
    except Unauthenticated:
        return
    head, payload, signature = token.split(".")
    assert parts.signing_input.decode() == f"{head}.{payload}"
    assert encoded(parts.signature) == signature


# the library refuses to sign an `iss` that is no text
NAMES = st.text(max_size=8).filter(lambda name: name != "iss")


@given(st.dictionaries(NAMES, st.integers(-(2**53), 2**53) | st.text(max_size=8), max_size=5))
def test_what_a_library_signs_is_read_as_the_library_reads_it(claims: dict[str, object]) -> None:
    """PyJWT's own tokens come apart into PyJWT's own parts."""
    token = jwt.encode(claims, ec_key(), "ES256", headers={"kid": "k1"})
    theirs = jwt.decode_complete(token, options={"verify_signature": False})
    ours = take_apart(token)
    assert ours.unverified_claims == theirs["payload"] == claims
    assert ours.signature == theirs["signature"]
    assert (ours.header.algorithm, ours.header.key_id) == (theirs["header"]["alg"], theirs["header"]["kid"])

"""What a scripted API server says of tokens; tests/e2e/kube/test_token_review.py asks a real one."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from meshca.authn.cluster import Review
from meshca.authn.keys import read_keys
from meshca.errors import Unavailable
from meshca.kube.reviewer import KEYS, KEYS_TYPE, MAX_ANSWER, REVIEWS, ApiReviewer, read_review
from meshca.secret import Secret
from tests.fakes.kube_server import answering, scripted, status
from tests.fakes.tokens import ec_key, key_set, public_jwk

TOKEN = Secret("the-token")
USER = {
    "username": "system:serviceaccount:shop:web",
    "uid": "1",
    "groups": ["system:serviceaccounts"],
    "extra": {"authentication.kubernetes.io/pod-name": ["web-0"]},
}
GOOD = {"authenticated": True, "user": USER, "audiences": ["istio-ca"]}


def read(found: object) -> Review:
    """The review of a status."""
    return read_review({"kind": "TokenReview", "spec": {"token": TOKEN.reveal()}, "status": found}, "home", TOKEN)


async def failure(handler: Any, *, seconds: float = 5.0) -> Unavailable:
    """What comes of a review that this server answers."""
    async with scripted(handler, seconds=seconds) as api:
        with pytest.raises(Unavailable) as caught:
            await ApiReviewer(api).review(TOKEN, ["istio-ca"])
    assert TOKEN.reveal() not in str(caught.value)
    return caught.value


async def test_what_is_asked() -> None:
    """A TokenReview with the token and our audiences."""
    asked: list[tuple[str, str, Any]] = []

    async def handler(request: web.Request) -> web.Response:
        asked.append((request.method, request.path, orjson.loads(await request.read())))
        return web.json_response({"status": GOOD}, status=201)

    async with scripted(handler) as api:
        assert (await ApiReviewer(api).review(TOKEN, ["istio-ca", "mesh"])).authenticated
    [(method, path, body)] = asked
    assert (method, path, body["kind"]) == ("POST", REVIEWS, "TokenReview")
    assert body["spec"] == {"token": "the-token", "audiences": ["istio-ca", "mesh"]}


async def test_an_empty_token_is_not_asked_about() -> None:
    """It would be answered with 400, as if the fault were ours."""
    async with scripted(answering(status("BadRequest", 400), 400)) as api:
        assert not (await ApiReviewer(api).review(Secret(""), ["istio-ca"])).authenticated


def test_a_good_answer() -> None:
    """Every fact of it."""
    assert read(GOOD) == Review(
        authenticated=True,
        username="system:serviceaccount:shop:web",
        groups=frozenset({"system:serviceaccounts"}),
        audiences=frozenset({"istio-ca"}),
        extra={"authentication.kubernetes.io/pod-name": ("web-0",)},
    )


@pytest.mark.parametrize(
    "found",
    [
        {"user": {}, "error": "has expired"},
        {"authenticated": False, "error": "has expired"},
        {"error": "has expired"},
    ],
    ids=["as the real one", "false", "only an error"],
)
def test_a_bad_token(found: Any) -> None:
    """`authenticated` is not there, or false."""
    assert read(found) == Review(authenticated=False, error="has expired")


@pytest.mark.parametrize("found", [{}, {"user": None, "authenticated": None}, None], ids=["empty", "null", "none"])
def test_an_answer_that_says_nothing(found: Any) -> None:
    """Is no yes."""
    assert not read(found).authenticated


def test_a_yes_without_a_user() -> None:
    """Names nobody; judging refuses it."""
    assert read({"authenticated": True}) == Review(authenticated=True)


@pytest.mark.parametrize("error", ["bad token the-token", "line\nbreak", "\x1b[2J"])
def test_an_unfit_reason_is_not_logged(error: str) -> None:
    """One that holds the token, or would spoil a terminal."""
    assert read({"error": error}).error == "not authenticated; its reason is unfit to be logged"


def test_a_long_reason_is_cut() -> None:
    """The log is no store."""
    assert len(read({"error": "x" * 100_000}).error) == 300


def changed(**user: Any) -> dict[str, Any]:
    """A good status with another user."""
    return {**GOOD, "user": {**USER, **user}}


@pytest.mark.parametrize(
    ("found", "field"),
    [
        ([], "status"),
        ("yes", "status"),
        ({"authenticated": "true"}, "authenticated"),
        ({"authenticated": 1}, "authenticated"),
        ({"error": 1}, "error"),
        ({**GOOD, "user": "web"}, "user"),
        (changed(username=1), "username"),
        (changed(groups="system:serviceaccounts"), "groups"),
        (changed(groups=[1]), "groups"),
        ({**GOOD, "audiences": "istio-ca"}, "audiences"),
        ({**GOOD, "audiences": [None]}, "audiences"),
        (changed(extra=[]), "extra"),
        (changed(extra={"the-token": "web-0"}), "extra"),
        (changed(extra={"x": [1]}), "extra"),
        (changed(extra={"x": {}}), "extra"),
    ],
)
def test_an_answer_of_another_shape(found: Any, field: str) -> None:
    """Tells nothing of the token: our call has failed, and the field is named."""
    with pytest.raises(Unavailable) as caught:
        read(found)
    assert caught.value.reason == "review_answer"
    assert caught.value.detail == f"home: an answer to a token review has no usable {field}"


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda x: (
            st.lists(x)
            | st.dictionaries(
                st.sampled_from(
                    ["status", "authenticated", "user", "groups", "extra", "audiences", "error", "username"]
                ),
                x,
            )
        ),
    )
)
def test_any_answer(found: Any) -> None:
    """A review or our failure, nothing else."""
    try:
        review = read_review(found, "home", TOKEN)
    except Unavailable as error:
        assert error.reason == "review_answer"  # noqa: PT017 - both ends are good
    else:
        assert isinstance(review, Review)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (400, "review_call"),
        (401, "kube_forbidden"),
        (403, "kube_forbidden"),
        (404, "review_call"),
        (409, "review_call"),
        (413, "review_call"),
        (422, "review_call"),
        (429, "kube_unreachable"),
        (500, "kube_unreachable"),
        (503, "kube_unreachable"),
    ],
)
async def test_a_call_that_fails(code: int, reason: str) -> None:
    """Is never the token's fault; the permission that is missing is named."""
    error = await failure(answering(status("SomeReason", code), code))
    assert (type(error).code, error.reason) == (14, reason)
    assert error.detail.startswith("home: create tokenreviews.authentication.k8s.io: ")


async def test_a_huge_answer() -> None:
    """Is not read to its end."""
    error = await failure(answering(b'{"status": {"error": "' + b"x" * MAX_ANSWER + b'"}}', 201))
    assert error.reason == "kube_answer"


@pytest.mark.parametrize("body", [b"", b"<html>", b"[" * 100_000, b"null", b"[]"])
async def test_an_answer_that_is_no_object(body: bytes) -> None:
    """Our call has failed."""
    assert (await failure(answering(body, 201))).reason in {"kube_answer", "review_answer"}


@pytest.mark.parametrize("begun", [False, True], ids=["silent", "begun"])
async def test_a_slow_answer(*, begun: bool) -> None:
    """Is given up in time, also when it has begun."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=201)
        if begun:
            await response.prepare(request)
            await response.write(b"{")
        await asyncio.sleep(60)
        return response

    error = await failure(handler, seconds=0.2)
    assert error.reason == "kube_unreachable"
    assert "did not answer in time" in error.detail


async def test_the_keys() -> None:
    """Asked for with the one type that the API server gives them in."""
    document = key_set(public_jwk(ec_key(), kid="k1", alg="ES256"))

    async def handler(request: web.Request) -> web.Response:
        if (request.path, request.headers["Accept"]) != (KEYS, KEYS_TYPE):
            return web.json_response(status("NotAcceptable", 406), status=406)
        return web.Response(body=document, content_type=KEYS_TYPE)

    async with scripted(handler) as api:
        assert read_keys(await ApiReviewer(api).fetch()).find("k1") is not None


async def test_the_issuer() -> None:
    """As OpenID discovery names it."""
    async with scripted(answering({"issuer": "https://kubernetes.default.svc", "jwks_uri": "x"})) as api:
        assert await ApiReviewer(api).issuer() == "https://kubernetes.default.svc"


@pytest.mark.parametrize("body", [{}, {"issuer": ""}, {"issuer": 1}, [], "x"])
async def test_no_issuer(body: Any) -> None:
    """Nothing is made up."""
    async with scripted(answering(body)) as api:
        with pytest.raises(Unavailable, match="names no issuer"):
            await ApiReviewer(api).issuer()


@pytest.mark.parametrize("code", [400, 403, 404, 406, 500])
async def test_keys_that_cannot_be_had(code: int) -> None:
    """Have the reason that the users of keys know."""
    async with scripted(answering(status("SomeReason", code), code)) as api:
        for call in (ApiReviewer(api).fetch(), ApiReviewer(api).issuer()):
            with pytest.raises(Unavailable) as caught:
                await call
            assert caught.value.reason == "issuer_keys"

"""Tests of meshca.authn.chain."""

from __future__ import annotations

import pytest

from meshca.authn.chain import Chain
from meshca.errors import InvariantBroken, MeshcaError, Unauthenticated, Unavailable
from meshca.identity.caller import Caller, Credential
from tests.fakes.authenticator import FakeAuthenticator
from tests.fakes.callers import caller
from tests.fakes.logs import captured_logs

NOTHING = Credential()
EXPIRED = Unauthenticated("cert_expired", "ended at noon")
NONE_SHOWN = Unauthenticated("no_credential", "nothing was shown")


def answering(name: str, answer: Caller | MeshcaError) -> FakeAuthenticator:
    """An authenticator that always answers the same."""
    return FakeAuthenticator(name=name, always=answer)


async def failure(*answers: MeshcaError) -> MeshcaError:
    """What a chain raises whose members a, b, c answer so."""
    chain = Chain([answering(name, answer) for name, answer in zip("abc", answers, strict=False)])
    with pytest.raises(MeshcaError) as caught:
        await chain.prove(NOTHING)
    return caught.value


async def test_the_first_success_ends_the_chain() -> None:
    """Whoever stands behind the first success is not asked: a certificate wins over a token."""
    first, second = answering("cert", caller(name="by-cert")), answering("token", caller(name="by-token"))
    assert (await Chain([first, second]).prove(NOTHING)).account.name == "by-cert"
    assert (first.asked, second.asked) == (1, 0)


async def test_a_failure_asks_the_next() -> None:
    """A refused certificate leaves the token its chance, and the refusal is logged."""
    with captured_logs() as logs:
        proven = await Chain([answering("cert", EXPIRED), answering("token", caller())]).prove(NOTHING)
    assert proven == caller()
    assert [(event["event"], event["failed"], event["reason"]) for event in logs] == [
        ("authn.fell_through", "cert", "cert_expired")
    ]


@pytest.mark.parametrize("reason", ["no_credential", "token_issuer"])
async def test_what_is_not_ones_own_is_not_logged(reason: str) -> None:
    """That a token caller has no certificate is no news, nor that a token is of the next one's issuer."""
    first = answering("first", Unauthenticated(reason, "not mine"))
    with captured_logs() as logs:
        await Chain([first, answering("token", caller())]).prove(NOTHING)
    assert logs == []


async def test_one_that_could_not_decide_does_not_stop_the_others() -> None:
    """Unavailable surfaces only when nobody succeeds."""
    chain = Chain([answering("cert", Unavailable("store", "down")), answering("token", caller())])
    assert await chain.prove(NOTHING) == caller()


async def test_an_empty_chain_proves_nobody() -> None:
    """Without authenticators everyone is refused, and the detail says why."""
    error = await failure()
    assert (type(error), error.reason) == (Unauthenticated, "no_credential")
    assert error.detail == "no authenticator is configured, so nobody can be proven"


async def test_no_credential_at_all() -> None:
    """When nobody had anything to look at, that is the reason."""
    assert (await failure(NONE_SHOWN, NONE_SHOWN)).reason == "no_credential"


ISSUER = Unauthenticated("token_issuer", "not mine")
SIGNATURE = Unauthenticated("token_signature", "not signed")


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ((EXPIRED, NONE_SHOWN), "cert_expired"),
        ((NONE_SHOWN, SIGNATURE), "token_signature"),
        ((EXPIRED, SIGNATURE), "cert_expired"),
        ((NONE_SHOWN, ISSUER, SIGNATURE), "token_signature"),
        ((NONE_SHOWN, ISSUER, ISSUER), "token_issuer"),
        ((ISSUER, NONE_SHOWN), "token_issuer"),
    ],
    ids=["cert only", "token only", "the first of two", "mine over not mine", "nobody's", "not mine over nothing"],
)
async def test_the_most_telling_failure_gives_the_reason(answers: tuple[MeshcaError, ...], reason: str) -> None:
    """Who had a credential to decide on tells more than who had none or another's."""
    assert (await failure(*answers)).reason == reason


async def test_the_detail_joins_all() -> None:
    """The log shows what each authenticator said."""
    assert (await failure(EXPIRED, SIGNATURE)).detail == (
        "a: cert_expired: ended at noon; b: token_signature: not signed"
    )


@pytest.mark.parametrize("first", [True, False], ids=["first", "last"])
async def test_when_one_could_not_decide_trying_again_may_help(*, first: bool) -> None:
    """A total failure with an undecided member is retryable, wherever it stands."""
    undecided = Unavailable("issuer_keys", "no keys yet")
    error = await failure(*((undecided, EXPIRED) if first else (EXPIRED, undecided)))
    assert (type(error), error.reason) == (Unavailable, "issuer_keys")
    assert "cert_expired: ended at noon" in error.detail


async def test_a_broken_invariant_is_not_a_failed_proof() -> None:
    """Only the two errors of the port go on to the next; our own faults come through."""
    with pytest.raises(InvariantBroken):
        await Chain([answering("a", InvariantBroken("x", "y")), answering("b", caller())]).prove(NOTHING)

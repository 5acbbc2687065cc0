"""Tests of meshca.authn.jwks: the steps of a proof, in their order, and what is remembered of it."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
from datetime import datetime, timedelta
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from meshca.authn.jwks import JwksAuthenticator, open_
from meshca.config.authn import JwksConfig, KeysConfig
from meshca.errors import MeshcaError, Unauthenticated, Unavailable
from meshca.identity.caller import Caller, Credential
from tests.fakes.callers import NOW
from tests.fakes.clock import FakeClock
from tests.fakes.logs import captured_logs
from tests.fakes.tokens import (
    ISSUER,
    FakeIssuer,
    assembled,
    bearing,
    ec_key,
    encoded,
    key_set,
    public_jwk,
    rsa_key,
)


class Subject:
    """An authenticator that trusts one issuer."""

    def __init__(self, *, key: object = None, **config: object) -> None:
        self.clock = FakeClock(NOW)
        self.issuer = FakeIssuer(self.clock, key=rsa_key() if key == "rsa" else None)
        self.authenticator = self.issuer.authenticator(**config)

    async def prove(self, token: str) -> Caller:
        """Prove a token."""
        return await self.authenticator.prove(bearing(token))

    async def failure(self, token: str) -> MeshcaError:
        """The error that proving a token raises."""
        with pytest.raises(MeshcaError) as caught:
            await self.prove(token)
        return caught.value


@pytest.mark.parametrize("key", ["ec", "rsa"])
async def test_a_good_token_proves_its_bearer(key: str) -> None:
    """Who it is, by which issuer under our name, from now on until the token ends."""
    subject = Subject(key=key)
    caller = await subject.prove(subject.issuer.token())
    assert (str(caller.account), caller.issuer, caller.proven_at, caller.until) == (
        "shop/web",
        "home",
        NOW,
        NOW + timedelta(hours=1),
    )


async def test_no_token() -> None:
    """A caller without a token is not this authenticator's."""
    with pytest.raises(Unauthenticated) as caught:
        await Subject().authenticator.prove(Credential())
    assert caught.value.reason == "no_credential"


def hs256_with_public_key(issuer: FakeIssuer) -> str:
    """The classic: the public key, which everyone knows, as the secret of an HMAC."""
    pem = issuer.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    signed = f"{encoded({'alg': 'HS256', 'kid': issuer.kid})}.{encoded(issuer.claims())}"
    return f"{signed}.{encoded(hmac.digest(pem, signed.encode(), 'sha256'))}"


def with_payload(token: str, claims: object) -> str:
    """A token whose payload was exchanged after it was signed."""
    head, _, signature = token.split(".")
    return f"{head}.{encoded(claims)}.{signature}"


def with_signature_bit(token: str) -> str:
    """A token with one bit of its signature flipped."""
    signed, _, signature = token.rpartition(".")
    raw = bytearray(base64.urlsafe_b64decode(signature + "=="))
    raw[0] ^= 1
    return f"{signed}.{encoded(bytes(raw))}"


I = FakeIssuer(FakeClock(NOW))  # noqa: E741 - the issuer of the rows below
STRANGER = ec_key(9)
REFUSED = {
    "1 too large": ("a" * 1_000_000, "token_too_large"),
    "2 garbage": ("garbage", "token_malformed"),
    "2 empty": ("", "token_malformed"),
    "2 not Unicode": ("\udc80", "token_malformed"),
    "3 another issuer": (I.token(iss="https://other"), "token_issuer"),
    "3 issuer with a slash": (I.token(iss=ISSUER + "/"), "token_issuer"),
    "3 no issuer": (I.token(iss=None), "token_issuer"),
    "3 issuer a list": (
        I.sign(I.claims(iss=[ISSUER])),
        "token_issuer",
    ),
    "4 alg none": (assembled({"alg": "none"}, I.claims(), b""), "token_algorithm"),
    "4 alg None": (assembled({"alg": "None"}, I.claims(), b""), "token_algorithm"),
    "4 HS256 with the public key": (hs256_with_public_key(I), "token_algorithm"),
    "4 not allowed for this issuer": (I.sign(I.claims(), key=rsa_key(), alg="RS256"), "token_algorithm"),
    "5 unknown key": (I.sign(I.claims(), kid="k2"), "token_unknown_key"),
    "6 signed by another key": (I.sign(I.claims(), key=STRANGER), "token_signature"),
    "6 no signature": (I.token().rpartition(".")[0] + ".", "token_signature"),
    "6 payload exchanged": (with_payload(I.token(), I.claims("kube-system", "admin")), "token_signature"),
    "6 one bit": (with_signature_bit(I.token()), "token_signature"),
    "7 expired": (I.token(exp=int(NOW.timestamp()) - 11), "token_expired"),
    "7 not yet valid": (I.token(nbf=int(NOW.timestamp()) + 11), "token_not_yet_valid"),
    "7 another audience": (I.token(aud=["api"]), "token_audience"),
    "7 missing exp": (I.token(exp=None), "token_claims"),
    "7 another subject": (I.token(sub="alice"), "token_subject"),
}


@pytest.mark.parametrize(("token", "reason"), REFUSED.values(), ids=REFUSED)
async def test_what_proves_nobody(token: str, reason: str) -> None:
    """Each step of the proof has its reason."""
    error = await Subject().failure(token)
    assert (type(error), error.reason) == (Unauthenticated, reason)


async def test_a_key_that_does_not_fit_the_algorithm() -> None:
    """With both kinds allowed, the key and not the token decides how it is used."""
    subject = Subject(algorithms=("ES256", "RS256"))
    token = subject.issuer.sign(subject.issuer.claims(), key=rsa_key(), alg="RS256")
    assert (await subject.failure(token)).reason == "token_algorithm"


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        (I.sign(I.claims(exp=1, aud="x", sub="y"), key=STRANGER), "token_signature"),
        (I.sign(I.claims(exp=1, aud="x", sub="y"), kid="k2"), "token_unknown_key"),
        (I.sign(I.claims(exp=1, aud="x", sub="y")), "token_expired"),
    ],
    ids=["signature before claims", "key before claims", "then claims"],
)
async def test_claims_are_not_looked_at_before_the_signature(token: str, reason: str) -> None:
    """A stranger learns nothing about what we expect of claims."""
    assert (await Subject().failure(token)).reason == reason


async def test_keys_are_not_fetched_for_strangers() -> None:
    """A token of nobody's issuer or of no allowed algorithm causes no request."""
    subject = Subject()
    await subject.failure(subject.issuer.token(iss="https://other"))
    await subject.failure(assembled({"alg": "none", "kid": "k9"}, subject.issuer.claims()))
    assert subject.issuer.source.fetches == 0


async def test_without_keys_nothing_is_decided() -> None:
    """While the issuer can not be reached for the first time, callers try again."""
    subject = Subject()
    subject.issuer.source.document = None
    error = await subject.failure(subject.issuer.token())
    assert (type(error), error.reason) == (Unavailable, "issuer_keys")


class TestSeveralIssuers:
    """Two clusters."""

    CLOCK = FakeClock(NOW)
    HOME = FakeIssuer(CLOCK)
    WEST = FakeIssuer(CLOCK, key=ec_key(1), name="west", issuer="https://west")

    def authenticator(self) -> JwksAuthenticator:
        """One authenticator for both."""
        return JwksAuthenticator([self.HOME.trusted(), self.WEST.trusted()], self.CLOCK)

    @pytest.mark.parametrize("issuer", [HOME, WEST], ids=["home", "west"])
    async def test_each_is_carried_under_its_name(self, issuer: FakeIssuer) -> None:
        """The same account of two clusters is two callers for admission."""
        assert (await self.authenticator().prove(bearing(issuer.token()))).issuer == issuer.name

    async def test_none_speaks_for_the_other(self) -> None:
        """A key of one issuer signs nothing for another, also under the same key id."""
        forged = self.WEST.sign(self.WEST.claims(iss=self.HOME.issuer))
        with pytest.raises(Unauthenticated) as caught:
            await self.authenticator().prove(bearing(forged))
        assert caught.value.reason == "token_signature"


class TestRemembering:
    """The same token comes with every renewal."""

    async def test_a_token_is_verified_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The second time it is known by its hash, and proven at its own time."""
        subject = Subject()
        token = subject.issuer.token()
        first = await subject.prove(token)
        monkeypatch.setattr(subject.authenticator, "_prove", lambda _: pytest.fail("verified again"))
        subject.clock.move(60)
        second = await subject.prove(token)
        assert (second.proven_at, second.until) == (NOW + timedelta(minutes=1), first.until)

    async def test_a_remembered_token_expires(self) -> None:
        """Remembering prolongs nothing: exp with leeway ends it."""
        subject = Subject()
        token = subject.issuer.token()
        await subject.prove(token)
        subject.clock.move(3609)
        await subject.prove(token)
        subject.clock.move(1)
        assert (await subject.failure(token)).reason == "token_expired"
        assert subject.authenticator._proofs == {}

    async def test_a_withdrawn_key_ends_what_it_proved(self) -> None:
        """When an issuer changes its keys everything is proven anew."""
        subject = Subject()
        token = subject.issuer.token()
        await subject.prove(token)
        subject.issuer.source.document = key_set(public_jwk(ec_key(5), kid="k5"))
        (trusted,) = subject.authenticator._issuers.values()
        await trusted.keys.fetch()
        assert (await subject.failure(token)).reason == "token_unknown_key"

    async def test_a_failure_is_not_remembered(self) -> None:
        """A token that was not valid yet is valid later."""
        subject = Subject()
        token = subject.issuer.token(nbf=int(NOW.timestamp()) + 30)
        assert (await subject.failure(token)).reason == "token_not_yet_valid"
        subject.clock.move(30)
        await subject.prove(token)

    async def test_memory_is_bounded(self) -> None:
        """The longest unused tokens are forgotten."""
        subject = Subject()
        authenticator = JwksAuthenticator([subject.issuer.trusted()], subject.clock, remembered=3)
        tokens = [subject.issuer.token(jti=f"t{number}") for number in range(5)]
        for token in (*tokens, tokens[2], tokens[0]):
            await authenticator.prove(bearing(token))
        remembered = {hashlib.sha256(tokens[number].encode()).digest() for number in (4, 2, 0)}
        assert set(authenticator._proofs) == remembered

    async def test_no_token_is_kept(self) -> None:
        """Only hashes and proven facts stay in memory."""
        subject = Subject()
        token = subject.issuer.token()
        await subject.prove(token)
        assert token not in repr(subject.authenticator._proofs)


def config(folder: Path, **keys: object) -> JwksConfig:
    """An issuer whose keys are in a file, unless told otherwise."""
    settings = keys or {"file": folder / "jwks.json"}
    return JwksConfig(issuer=ISSUER, algorithms=("ES256",), keys=KeysConfig.model_validate(settings))


class BrokenClock(FakeClock):
    """A fault of our own."""

    def __init__(self, now: datetime) -> None:
        super().__init__(now)
        self.asked = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        """Fail instead of waiting."""
        self.asked.set()
        raise LookupError


class TestOpen:
    """An authenticator with its keys kept fresh."""

    async def test_a_changed_file_is_followed(self, tmp_path: Path) -> None:
        """Within a second, without a token having to ask for it."""
        clock = FakeClock(NOW)
        old, new = FakeIssuer(clock), FakeIssuer(clock, key=ec_key(7))
        (tmp_path / "jwks.json").write_bytes(old.source.document or b"")
        async with open_([config(tmp_path)], clock) as authenticator:
            await authenticator.prove(bearing(old.token()))
            (tmp_path / "jwks.json").write_bytes(new.source.document or b"")
            clock.move(1)
            (trusted,) = authenticator._issuers.values()
            await trusted.keys.fetch()
            await authenticator.prove(bearing(new.token()))
            with pytest.raises(Unauthenticated) as caught:
                await authenticator.prove(bearing(old.token()))
        assert caught.value.reason == "token_signature"

    async def test_a_missing_file_is_no_failure_to_start(self, tmp_path: Path) -> None:
        """Tokens are answered with Unavailable until the file is there."""
        clock = FakeClock(NOW)
        issuer = FakeIssuer(clock)
        async with open_([config(tmp_path)], clock) as authenticator:
            with pytest.raises(Unavailable):
                await authenticator.prove(bearing(issuer.token()))
            (tmp_path / "jwks.json").write_bytes(issuer.source.document or b"")
            clock.move(1)
            await authenticator.prove(bearing(issuer.token()))

    async def test_errors_inside_come_out_as_they_are(self, tmp_path: Path) -> None:
        """Closing cleans up and hides nothing."""
        with pytest.raises(LookupError):
            async with open_([config(tmp_path)], FakeClock(NOW)):
                raise LookupError

    async def test_a_refresher_does_not_die_in_silence(self, tmp_path: Path) -> None:
        """A fault of our own is logged; the keys stay as they are."""
        clock = BrokenClock(NOW)
        with captured_logs() as logs:
            async with open_([config(tmp_path)], clock):
                await clock.asked.wait()
        assert [event["issuer"] for event in logs if event["event"] == "authn.refresh_died"] == ["home"]

    async def test_an_address_is_asked_at_its_own_pace(self, tmp_path: Path) -> None:
        """Only files are looked at each second."""
        async with open_([config(tmp_path, url="https://127.0.0.1:1/keys")], FakeClock(NOW)) as authenticator:
            (trusted,) = authenticator._issuers.values()
            assert (trusted.keys._refresh, trusted.keys._refetch) == (300, 30)


CLAIM = st.sampled_from(["iss", "aud", "exp", "nbf", "iat", "sub", "jti", "kubernetes.io"])
VALUE: st.SearchStrategy[object] = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=10) | st.just([]) | st.just({})
)


@given(
    st.text()
    | st.builds(
        assembled, st.dictionaries(st.sampled_from(["alg", "kid", "typ"]), VALUE), VALUE, st.binary(max_size=64)
    )
    | st.dictionaries(CLAIM, VALUE, max_size=4).map(lambda changes: I.sign({**I.claims(), **changes}))
)
async def test_any_token_is_a_caller_or_refused(token: str) -> None:
    """Whatever a client sends, a caller or one of the two errors comes of it."""
    try:
        caller = await Subject().prove(token)
    except Unauthenticated as error:
        assert error.reason.startswith("token_")  # noqa: PT017 - a caller is right too
        return
    # What we accept, the library's own full path accepts.
    claims = jwt.decode(
        token, I.key.public_key(), ["ES256"], audience="istio-ca", issuer=ISSUER,
        options={"verify_exp": False, "verify_nbf": False, "verify_iat": False},
    )  # fmt: skip
    assert claims["sub"] == f"system:serviceaccount:{caller.account.namespace}:{caller.account.name}"

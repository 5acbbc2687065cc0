"""What a cluster's own keys show of a token."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from meshca.authn.claims import Expectation
from meshca.authn.compact import take_apart
from meshca.authn.local_check import REFRESH, LocalCheck
from meshca.errors import Unauthenticated, Unavailable
from meshca.identity.caller import Caller, ProvenBy
from tests.fakes.clock import FakeClock
from tests.fakes.cluster import FakeReviewer
from tests.fakes.logs import captured_logs
from tests.fakes.tokens import FakeIssuer, ec_key, key_set, public_jwk

EXPECTED = Expectation(issuer="home", audiences=frozenset({"istio-ca"}), leeway=timedelta(seconds=10))


class Rig:
    """A check against one issuer."""

    def __init__(self, *, alone: bool = False) -> None:
        self.clock = FakeClock()
        self.issuer = FakeIssuer(self.clock)
        self.check = LocalCheck(FakeReviewer(self.issuer), EXPECTED, self.clock, alone=alone)

    async def verify(self, claims: Mapping[str, Any] | None = None, **sign: Any) -> Caller:
        """A token with these claims, verified."""
        return await self.check.verify(take_apart(self.issuer.sign(claims or self.issuer.claims(), **sign)))

    async def refusal(self, claims: Mapping[str, Any] | None = None, **sign: Any) -> str:
        """Why it is refused."""
        with pytest.raises(Unauthenticated) as caught:
            await self.verify(claims, **sign)
        return caught.value.reason


async def test_a_good_token() -> None:
    """Names account, pod, node and id, under our name of the cluster."""
    caller = await Rig().verify()
    assert (str(caller.account), caller.issuer, caller.proven_by) == ("shop/web", "home", ProvenBy.TOKEN_REVIEW)
    assert caller.pod is not None
    assert caller.token_id == "0d8c1c5e-6f9d-4a37-b6f3-2f4b8a3f1c11"


async def test_what_a_signature_shows() -> None:
    """Another's signature, another's key, another audience, a past end."""
    rig = Rig()
    assert await rig.refusal(key=ec_key(7)) == "token_signature"
    assert await rig.refusal(kid="other") == "token_unknown_key"
    assert await rig.refusal(alg="ES384", key=ec_key(7, ec.SECP384R1)) == "token_algorithm"
    assert await rig.refusal(rig.issuer.claims(aud=["other"])) == "token_audience"
    assert await rig.refusal(rig.issuer.claims(exp=1)) == "token_expired"


async def test_another_issuer() -> None:
    """That a key is shared is for a review to say; where none follows, the name must be right."""
    claims = Rig().issuer.claims(iss="https://other")
    assert (await Rig().verify(claims)).account.name == "web"
    assert await Rig(alone=True).refusal(claims) == "token_issuer"
    assert (await Rig(alone=True).verify()).account.name == "web"


async def test_no_pod() -> None:
    """Where no review follows, the pod is the one thing left to look at."""
    claims = Rig().issuer.claims("shop", "web", **{"kubernetes.io": None})
    assert (await Rig().verify(claims)).pod is None
    assert await Rig(alone=True).refusal(claims) == "token_unbound"


@pytest.mark.parametrize("alone", [False, True])
async def test_without_keys_nothing_is_known(*, alone: bool) -> None:
    """The cluster does not answer: try again later."""
    rig = Rig(alone=alone)
    rig.issuer.source.document = None
    with captured_logs(), pytest.raises(Unavailable) as caught:
        await rig.verify()
    assert caught.value.reason == "issuer_keys"
    rig.issuer.source.document = rig.issuer.document
    rig.clock.move(1)
    await rig.verify()


async def test_keys_are_fetched_once() -> None:
    """And used for their time."""
    rig = Rig()
    for _ in range(5):
        await rig.verify()
        rig.clock.move(REFRESH.total_seconds() / 5 - 1)
    assert rig.issuer.source.fetches == 1


async def test_a_withdrawn_key_is_believed_no_longer_than_that() -> None:
    """Old keys are fetched again at the next token."""
    rig = Rig()
    await rig.verify()
    rig.issuer.source.document = key_set(public_jwk(ec_key(8), kid="k2"))
    rig.clock.move(REFRESH.total_seconds())
    assert await rig.refusal() == "token_unknown_key"


async def test_a_failed_fetch_leaves_the_keys() -> None:
    """The last good ones hold; the next try is one interval later."""
    rig = Rig()
    await rig.verify()
    rig.issuer.source.document = None
    rig.clock.move(REFRESH.total_seconds())
    with captured_logs():
        await rig.verify()
        await rig.verify()
    assert rig.issuer.source.fetches == 2

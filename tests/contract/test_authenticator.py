"""What every authenticator owes the chain; run over each implementation and the fake."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshca.errors import MeshcaError, Unauthenticated, Unavailable
from meshca.identity.caller import Caller, Credential
from meshca.identity.service_account import ServiceAccount
from tests.contract.authenticator_rigs import RIGS, Rig

SLUG = re.compile(r"[a-z][a-z0-9_]*")
WEB = ServiceAccount(namespace="shop", name="web")
API = ServiceAccount(namespace="shop", name="api")
every_rig = pytest.mark.parametrize("make", RIGS, ids=lambda rig: rig.__name__.removesuffix("Rig"))


async def failure(rig: Rig, credential: Credential) -> MeshcaError:
    """The error that proving a credential raises."""
    with pytest.raises((Unauthenticated, Unavailable)) as caught:
        await rig.authenticator.prove(credential)
    return caught.value


@every_rig
def test_it_has_a_name(make: type[Rig]) -> None:
    """A stable slug, for logs."""
    assert SLUG.fullmatch(make().authenticator.name)


@every_rig
async def test_a_good_credential_proves_its_caller(make: type[Rig]) -> None:
    """Account, issuer under our name, pod; proven not later than now and holding beyond now."""
    rig = make()
    caller = await rig.authenticator.prove(rig.good())
    assert (caller.account, caller.issuer) == (WEB, "home")
    assert caller.pod is not None
    assert caller.proven_at <= rig.clock.now() < caller.until
    assert (caller.proven_at.tzinfo, caller.until.tzinfo) == (UTC, UTC)


@every_rig
async def test_the_same_credential_proves_the_same_again(make: type[Rig]) -> None:
    """Proving has no effect on later proofs."""
    rig = make()
    credential = rig.good()
    assert await rig.authenticator.prove(credential) == await rig.authenticator.prove(credential)


@every_rig
async def test_an_unbound_credential_has_no_pod(make: type[Rig]) -> None:
    """No pod is made up."""
    rig = make()
    caller = await rig.authenticator.prove(rig.unbound())
    assert (caller.account, caller.pod, caller.node) == (WEB, None, None)


@every_rig
async def test_nothing_shown_is_no_credential(make: type[Rig]) -> None:
    """The chain tells `nothing to look at` from `looked at and refused`."""
    error = await failure(make(), Credential())
    assert (type(error), error.reason) == (Unauthenticated, "no_credential")


@every_rig
async def test_what_proves_nobody_has_its_reason(make: type[Rig]) -> None:
    """Each wrong credential is Unauthenticated with its own slug."""
    rig = make()
    for reason, credential in rig.wrong().items():
        error = await failure(rig, credential)
        assert (type(error), error.reason) == (Unauthenticated, reason)
        assert SLUG.fullmatch(reason)


@every_rig
async def test_a_refusal_does_not_repeat_the_credential(make: type[Rig]) -> None:
    """Errors are logged, tokens must not be."""
    rig = make()
    for credential in rig.wrong().values():
        error = await failure(rig, credential)
        if credential.unverified_token is not None and len(credential.unverified_token.reveal()) > 10:
            assert credential.unverified_token.reveal() not in str(error)


@every_rig
async def test_a_refusal_does_not_spoil_later_proofs(make: type[Rig]) -> None:
    """After every refusal a good credential is still good."""
    rig = make()
    for credential in rig.wrong().values():
        await failure(rig, credential)
        assert (await rig.authenticator.prove(rig.good())).account == WEB


@every_rig
async def test_callers_at_the_same_time_are_not_mixed_up(make: type[Rig]) -> None:
    """Fifty proofs at once: each gives its own caller or its own refusal."""
    rig = make()
    bad = next(iter(rig.wrong().values()))
    credentials = [rig.good(), rig.other(), bad] * 17

    async def outcome(credential: Credential) -> Caller | Unauthenticated:
        try:
            return await rig.authenticator.prove(credential)
        except Unauthenticated as error:
            return error

    for index, found in enumerate(await asyncio.gather(*map(outcome, credentials))):
        expected = (WEB, API, None)[index % 3]
        assert (found.account if isinstance(found, Caller) else None) == expected


@every_rig
async def test_what_can_not_be_decided_is_unavailable(make: type[Rig]) -> None:
    """When its authority can not be asked, nothing is known against the caller; later it is proven."""
    rig = make()
    rig.cut_off()
    assert type(await failure(rig, rig.good())) is Unavailable
    rig.reconnect()
    assert (await rig.authenticator.prove(rig.good())).account == WEB


@every_rig
@given(raw=st.binary(max_size=200))
async def test_any_bytes_prove_nobody(make: type[Rig], raw: bytes) -> None:
    """Whatever comes over the wire, one of the port's errors comes back."""
    rig = make()
    assert SLUG.fullmatch((await failure(rig, rig.hostile(raw))).reason)

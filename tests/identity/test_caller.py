"""Tests of meshca.identity.caller."""

from __future__ import annotations

from datetime import UTC, datetime

from meshca.identity.caller import Caller, Credential, ProvenBy
from meshca.identity.service_account import ServiceAccount
from meshca.identity.spiffe_id import TrustDomain
from meshca.secret import Secret


def test_a_credential_hides_itself() -> None:
    """Neither token nor certificate is in the repr, which may end up in a log."""
    shown = repr(Credential(unverified_token=Secret("eyJhbGciOi"), peer_certificate=b"-----BEGIN"))
    assert shown == "Credential(unverified_token=***, cluster='')"


def test_a_credential_may_be_empty() -> None:
    """A caller that shows nothing is still a value; authn refuses it."""
    assert Credential() == Credential(unverified_token=None, peer_certificate=None, cluster="")


def test_a_callers_own_identity() -> None:
    """The identity is made of the trust domain and the proven service account, of nothing else."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    caller = Caller(
        account=ServiceAccount(namespace="shop", name="web"),
        proven_by=ProvenBy.JWKS,
        issuer="home",
        pod=None,
        node=None,
        token_id="",
        proven_at=now,
        until=now,
    )
    assert str(caller.identity(TrustDomain("cluster.local"))) == "spiffe://cluster.local/ns/shop/sa/web"
    assert (dict(caller.labels), caller.serial) == ({}, "")

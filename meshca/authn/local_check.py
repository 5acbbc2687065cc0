"""Checks a token by its cluster's own keys, before or instead of asking the API server about it.

Sees a forged signature, another audience and an end in the past. Does not see what only the API server knows:
a deleted service account, pod, node or Secret.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Final, Protocol

from meshca.authn.chain import WRONG_ISSUER
from meshca.authn.claims import Expectation, read_claims
from meshca.authn.compact import UnverifiedToken
from meshca.authn.keyset import KeySet, KeySource
from meshca.clock import Clock
from meshca.errors import Unauthenticated
from meshca.identity.caller import Caller, ProvenBy

REFRESH: Final = timedelta(minutes=5)  # a withdrawn key is believed for no longer
REFETCH: Final = timedelta(seconds=30)  # between two fetches for keys that are not known


class IssuerSource(KeySource, Protocol):
    """Where the keys of a cluster come from, and the name that it signs under."""

    async def issuer(self) -> str:
        """The `iss` of the tokens that it signs now.

        Raises:
            Unavailable: reason `issuer_keys`.
        """
        ...


class _Named:
    """Keys that come together with the name, so that both are of one time."""

    def __init__(self, source: IssuerSource) -> None:
        self._source = source
        self.issuer = ""

    async def fetch(self) -> bytes:
        self.issuer = await self._source.issuer()
        return await self._source.fetch()


class LocalCheck:
    """Of one cluster; asks for its keys when a token needs them.

    Args:
        source: of its keys.
        expected: of its tokens.
        clock: for the age of keys and tokens.
        alone: whether nobody is asked about the token afterwards. Then its `iss` must be the cluster's present
            one, since clusters may share a key, and it must be bound to a pod, the one thing left to look at.
    """

    def __init__(self, source: IssuerSource, expected: Expectation, clock: Clock, *, alone: bool) -> None:
        self._source = _Named(source)
        keys = self._source if alone else source
        self._keys = KeySet(expected.issuer, keys, clock, refresh=REFRESH, refetch=REFETCH)
        self._expected = expected
        self._alone = alone
        self._clock = clock
        self._refresh_at = 0.0

    async def verify(self, token: UnverifiedToken) -> Caller:
        """The caller that a token of this cluster names, by its signature and claims alone.

        Raises:
            Unauthenticated: reason `token_unknown_key`, `token_algorithm`, `token_signature`, `token_issuer`,
                `token_unbound`, or one of `claims.read_claims`.
            Unavailable: reason `issuer_keys`, when the keys could not be fetched yet.
        """
        await self._refresh()
        key = await self._keys.find(token.header.key_id)
        key.verify(token.header.algorithm, token.signing_input, token.signature)
        caller = read_claims(token.unverified_claims, self._expected, self._clock.now())
        if self._alone and token.unverified_claims.get("iss") != self._source.issuer:
            raise Unauthenticated(
                WRONG_ISSUER, "iss is not the one of the cluster that the clusterid header names"
            )
        if self._alone and caller.pod is None:
            raise Unauthenticated("token_unbound", "nothing can be seen of a token that is bound to no pod")
        return replace(caller, proven_by=ProvenBy.TOKEN_REVIEW)

    async def _refresh(self) -> None:
        """Fetch the keys again once they are old; a failure leaves them as they are until the next time."""
        now = self._clock.monotonic()
        if now < self._refresh_at:
            return
        self._refresh_at = now + REFRESH.total_seconds()
        if self._keys.version:  # the first ones are fetched when they are looked for
            await self._keys.fetch()

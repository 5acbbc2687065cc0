"""Checks a token by its cluster's own keys, before or instead of asking the API server about it.

Sees a forged signature, another audience and an end in the past. Does not see what only the API server knows:
a deleted service account, pod, node or Secret.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Final

from meshca.authn.claims import Expectation, read_claims
from meshca.authn.compact import UnverifiedToken
from meshca.authn.keyset import KeySet, KeySource
from meshca.clock import Clock
from meshca.identity.caller import Caller, ProvenBy

REFRESH: Final = timedelta(minutes=5)  # a withdrawn key is believed for no longer
REFETCH: Final = timedelta(seconds=30)  # between two fetches for keys that are not known


class LocalCheck:
    """Of one cluster; asks for its keys when a token needs them.

    Args:
        source: of its keys.
        expected: of its tokens.
        clock: for the age of keys and tokens.
    """

    def __init__(self, source: KeySource, expected: Expectation, clock: Clock) -> None:
        self._keys = KeySet(expected.issuer, source, clock, refresh=REFRESH, refetch=REFETCH)
        self._expected = expected
        self._clock = clock
        self._refresh_at = 0.0

    async def verify(self, token: UnverifiedToken) -> Caller:
        """The caller that a token of this cluster names, by its signature and claims alone.

        Raises:
            Unauthenticated: reason `token_unknown_key`, `token_algorithm`, `token_signature`, or one of
                `claims.read_claims`.
            Unavailable: reason `issuer_keys`, when the keys could not be fetched yet.
        """
        await self._refresh()
        key = await self._keys.find(token.header.key_id)
        key.verify(token.header.algorithm, token.signing_input, token.signature)
        caller = read_claims(token.unverified_claims, self._expected, self._clock.now())
        return replace(caller, proven_by=ProvenBy.TOKEN_REVIEW)

    async def _refresh(self) -> None:
        """Fetch the keys again once they are old; a failure leaves them as they are until the next time."""
        now = self._clock.monotonic()
        if now < self._refresh_at:
            return
        self._refresh_at = now + REFRESH.total_seconds()
        if self._keys.version:  # the first ones are fetched when they are looked for
            await self._keys.fetch()

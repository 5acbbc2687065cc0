"""The life of our token: had before it is needed, renewed at two thirds, replaced when it cannot be renewed.

A refusal (403) says nothing about why: the token may be over, or may not do this. So it is answered by exactly one
fresh login, and the call is repeated once; what is refused then is refused for a while, so that a wrong policy is
no storm of logins.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from typing import Final

from meshca.backoff import JITTER, Backoff
from meshca.clock import Clock
from meshca.errors import Unavailable
from meshca.log import log
from meshca.upstream.vault.answer import Answer
from meshca.upstream.vault.client import Client, Method
from meshca.upstream.vault.faults import Fault, fault_of
from meshca.upstream.vault.logins import Login, Token, token_of

BACKOFF: Final = Backoff(floor=1.0, ceiling=60.0)
RENEWED_AT: Final = 2 / 3  # of a token's life
FOR_EVER: Final = 3600.0  # seconds between two looks at a token that does not end
SOONEST: Final = 1.0  # seconds between two renewals
WORN: Final = 2  # a renewal that gives less than one such part of what the login gave has met the token's last end


class Session:
    """Calls with a token.

    Args:
        client: asks.
        login: gives tokens.
        clock: for their lives; monotonic, so that a clock that is set does not matter.
        rng: the source of jitter.
    """

    def __init__(self, client: Client, login: Login, clock: Clock, rng: random.Random = JITTER) -> None:
        self._client = client
        self._login = login
        self._clock = clock
        self._rng = rng
        self._token: Token | None = None
        self._since = 0.0
        self._granted = 0  # seconds that the last login gave
        self._failures = 0
        self._refused: tuple[Unavailable, float] | None = None
        self._one = asyncio.Lock()

    async def call(self, method: Method, path: str, body: Mapping[str, object] | None = None) -> Answer:
        """One call as us.

        Raises:
            Unavailable: reason `vault_<fault>`.
        """
        token = await self._held()
        try:
            answer = await self._client.call(method, path, body, token=token.value)
        except Unavailable as error:
            if fault_of(error) is not Fault.FORBIDDEN:
                raise
            answer = await self._again(token, method, path, body)
        self._failures, self._refused = 0, None
        return answer

    async def run(self) -> None:
        """Keep the token fresh for ever; a failure is logged and tried again."""
        failures = 0
        while True:
            try:
                await self._held()
                failures = 0
                await self._clock.sleep(self._left())
                await self._renew()
            except Unavailable as error:
                failures += 1
                log.warning("vault.token", reason=error.reason, detail=error.detail)
                await self._clock.sleep(BACKOFF.pause(failures, self._rng))

    async def _held(self) -> Token:
        """The token, had by a login when there is none or when it is over."""
        async with self._one:
            self._check_patience()
            if self._token is None or self._over():
                await self._log_in()
            assert self._token is not None  # noqa: S101 - `_log_in` has set it
            return self._token

    async def _again(self, refused: Token, method: Method, path: str, body: Mapping[str, object] | None) -> Answer:
        """The call once more with a fresh token, unless another call has had one meanwhile."""
        async with self._one:
            if self._token is refused:
                await self._log_in()
            assert self._token is not None  # noqa: S101 - as above
            token = self._token
        try:
            return await self._client.call(method, path, body, token=token.value)
        except Unavailable as error:
            self._be_patient(error)
            raise

    async def _renew(self) -> None:
        """Make the token last; another when it cannot."""
        async with self._one:
            if self._token is None or not self._token.renewable or not await self._renewed(self._token):
                await self._log_in()

    async def _renewed(self, token: Token) -> bool:
        """Whether a renewal gave what lasts; near its last end (`max_ttl`) it gives less and less."""
        begun = self._clock.monotonic()
        try:
            answer = await self._client.call("post", "auth/token/renew-self", {}, token=token.value)
            renewed = token_of(answer.auth)
        except Unavailable as error:
            log.info("vault.renewal_failed", reason=error.reason, detail=error.detail)
            return False
        if renewed.seconds * WORN < self._granted:
            return False
        self._token, self._since = renewed, begun
        return True

    async def _log_in(self) -> None:
        begun = self._clock.monotonic()
        try:
            token = await self._login(self._client)
        except Unavailable as error:
            self._be_patient(error)
            raise
        self._token, self._since, self._granted = token, begun, token.seconds
        log.info("vault.logged_in", seconds=token.seconds, renewable=token.renewable)

    def _over(self) -> bool:
        token = self._token
        return token is not None and token.seconds > 0 and self._clock.monotonic() >= self._since + token.seconds

    def _left(self) -> float:
        """Seconds until the token is to be renewed."""
        token = self._token
        if token is None:
            return 0.0
        if token.seconds == 0:
            return FOR_EVER
        return max(self._since + token.seconds * RENEWED_AT - self._clock.monotonic(), SOONEST)

    def _be_patient(self, error: Unavailable) -> None:
        self._failures += 1
        until = self._clock.monotonic() + BACKOFF.pause(self._failures, self._rng)
        self._refused = error, until

    def _check_patience(self) -> None:
        """Refuse what was refused just now.

        Raises:
            Unavailable: the same as then.
        """
        if self._refused is not None and self._clock.monotonic() < self._refused[1]:
            raise self._refused[0]

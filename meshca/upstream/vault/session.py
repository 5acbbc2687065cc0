"""The life of our token: had before it is needed, renewed at two thirds, replaced when it cannot be renewed.

A refusal (403) says nothing about why: the token may be over, or may not do this. So it is answered by exactly one
fresh login, and the call is repeated once; what is refused to a fresh token is not asked again for a while. A
token that is good is used whatever becomes of the next login.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from typing import Final

from meshca.backoff import JITTER
from meshca.clock import Clock, pause
from meshca.errors import Unavailable
from meshca.log import log
from meshca.upstream.vault.answer import Answer
from meshca.upstream.vault.client import Client, Method
from meshca.upstream.vault.faults import TABLE, Fault, count, fault_of
from meshca.upstream.vault.logins import Login, Token, token_of
from meshca.upstream.vault.patience import Patience

RENEWED_AT: Final = 2 / 3  # of a token's life
SOONEST: Final = 1.0  # seconds between two renewals
Body = Mapping[str, object] | Callable[[], Mapping[str, object]] | None
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
        self._logins = 0
        self._logging_in: asyncio.Task[Token] | None = None
        self._one = asyncio.Lock()
        self._replaced = asyncio.Event()
        self._with_login = Patience(clock, rng)
        self._with_path: dict[str, Patience] = {}

    async def call(
        self,
        method: Method,
        path: str,
        body: Body = None,
        *,
        by: Client | None = None,
    ) -> Answer:
        """One call as us.

        Args:
            method: of HTTP.
            path: below `/v1/`.
            body: sent as JSON; one that is to be made is made once the call may be sent.
            by: who asks, in place of the client that logs in.

        Raises:
            Unavailable: reason `vault_<fault>`.
        """
        patience = self._with(path)
        patience.check()
        before = patience.failures
        try:
            answer = await self._call(by or self._client, method, path, body, patience)
        except Unavailable as error:
            if fault_of(error) is Fault.FORBIDDEN and patience.failures == before:  # one step for all at once
                patience.failed(error)
            raise
        patience.succeeded()
        return answer

    def left(self, path: str) -> float:
        """Seconds for which a call of this path is refused without asking anybody."""
        without = self._token is None or self._is_over(self._token)
        return max(self._with(path).left, self._with_login.left if without else 0.0)

    async def run(self) -> None:
        """Keep the token fresh for ever; a failure is logged and tried again."""
        while True:
            try:
                token = await self._held()
                self._replaced.clear()
                await pause(self._clock, self._left(token), self._replaced)
                if not self._replaced.is_set():
                    await self._renew()
            except Unavailable as error:
                count(error)
                log.warning("vault.token", reason=error.reason, detail=error.detail)
                await self._clock.sleep(self._with_login.left)

    async def _call(self, by: Client, method: Method, path: str, body: Body, patience: Patience) -> Answer:
        """The call, and once more with a fresh token when it is refused to one that was not fresh."""
        before = self._logins
        token = await self._held()
        sent = body() if callable(body) else body
        try:
            return await by.call(method, path, sent, token=token.value)
        except Unavailable as error:
            if fault_of(error) is not Fault.FORBIDDEN or (self._logins != before and token is self._token):
                raise
            count(error)  # whoever revokes our token is seen there, though nothing is stopped
        patience.check()  # another call, with a fresh token, may have been refused meanwhile
        token = await self._instead_of(token)
        return await by.call(method, path, sent, token=token.value)

    def _with(self, path: str) -> Patience:
        return self._with_path.setdefault(path, Patience(self._clock, self._rng))

    async def _held(self) -> Token:
        """The token, had by a login when there is none or when it is over; one that is good waits for nobody."""
        if self._token is not None and not self._is_over(self._token):
            return self._token
        async with self._one:
            return await self._log_in() if self._token is None or self._is_over(self._token) else self._token

    async def _instead_of(self, refused: Token) -> Token:
        """A fresh token, unless another call has had one meanwhile."""
        async with self._one:
            if self._token is None or self._token.value == refused.value:
                return await self._log_in()
            return self._token

    async def _renew(self) -> None:
        """Make the token last; another when it cannot: near its last end a renewal gives less and less."""
        async with self._one:
            if self._token is None or not self._token.renewable or not await self._renewed(self._token):
                await self._log_in()

    async def _renewed(self, token: Token) -> bool:
        """Whether a renewal gave what lasts.

        Raises:
            Unavailable: nobody knows, as the server is not there; the token goes on.
        """
        begun = self._clock.monotonic()
        try:
            renewed = token_of(
                (await self._client.call("post", "auth/token/renew-self", {}, token=token.value)).auth
            )
        except Unavailable as error:
            fault = fault_of(error)
            if fault is not None and TABLE[fault].passes:
                self._with_login.failed(error)
                raise
            log.info("vault.renewal_failed", reason=error.reason, detail=error.detail)
            return False
        if renewed.seconds == 0:  # over within this second
            return False
        self._token, self._since = renewed, begun
        return renewed.seconds * WORN >= self._granted

    async def _log_in(self) -> Token:
        """Another token; whoever calls this has the lock.

        A login goes on though its caller is cancelled: a secret id that was wrapped is there once only.
        """
        if self._logging_in is None or self._logging_in.done():
            self._with_login.check()
            self._logging_in = asyncio.create_task(self._logged_in())
        return await asyncio.shield(self._logging_in)

    async def _logged_in(self) -> Token:
        begun = self._clock.monotonic()
        try:
            token = await self._login(self._client)
        except Unavailable as error:
            self._with_login.failed(error)
            raise
        self._with_login.succeeded()
        self._token, self._since, self._granted = token, begun, token.seconds
        self._logins += 1
        self._replaced.set()
        log.info("vault.logged_in", seconds=token.seconds, renewable=token.renewable)
        return token

    def _is_over(self, token: Token) -> bool:
        return token.seconds > 0 and self._clock.monotonic() >= self._since + token.seconds

    def _left(self, token: Token) -> float | None:
        """Seconds until the token is to be renewed; None for one that lasts for ever."""
        if token.seconds == 0:
            return None
        return max(self._since + token.seconds * RENEWED_AT - self._clock.monotonic(), SOONEST)

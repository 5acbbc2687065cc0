"""The ordered chain of authenticators, and the port that each of them implements.

The first success ends the chain: a client certificate of our own trust domain comes before a token. Why the
others failed is private; the client only ever sees the fixed sentence and one stable reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from meshca.errors import Unauthenticated, Unavailable
from meshca.identity.caller import Caller, Credential
from meshca.log import log

NO_CREDENTIAL: Final = "no_credential"
WRONG_ISSUER: Final = "token_issuer"
# How much a failure tells: "nothing was shown to me" says least, "that is not my issuer's" a little more,
# and everything else is about a credential that this authenticator would have decided on.
_TELLS: Final = {NO_CREDENTIAL: 0, WRONG_ISSUER: 1}
_TELLS_MOST: Final = 2


class Authenticator(Protocol):
    """Proves callers by one kind of credential; tests/contract/test_authenticator.py says what it owes."""

    @property
    def name(self) -> str:
        """A stable slug for logs."""
        ...

    async def prove(self, credential: Credential) -> Caller:
        """The caller that this credential proves.

        Raises:
            Unauthenticated: reason `no_credential` when it holds nothing of this authenticator's kind,
                another one when what it holds proves nobody.
            Unavailable: this authenticator could not decide; nothing is known to be wrong with the caller.
        """
        ...


class Chain:
    """Asks each authenticator in turn; an empty chain proves nobody."""

    name = "chain"

    def __init__(self, authenticators: Sequence[Authenticator]) -> None:
        self._authenticators = tuple(authenticators)

    async def prove(self, credential: Credential) -> Caller:
        """The caller that the first successful authenticator proves.

        Raises:
            Unauthenticated: nobody succeeded; its reason is that of the most telling failure (the first of
                equals), its detail joins all.
            Unavailable: nobody succeeded, and at least one could not decide.
        """
        failures: list[tuple[str, Unauthenticated | Unavailable]] = []
        for authenticator in self._authenticators:
            try:
                caller = await authenticator.prove(credential)
            except (Unauthenticated, Unavailable) as error:
                failures.append((authenticator.name, error))
                continue
            for name, failure in failures:
                if failure.reason not in _TELLS:
                    log.info("authn.fell_through", failed=name, reason=failure.reason, proven_by=caller.proven_by)
            return caller
        raise _joined(failures)


def _joined(failures: Sequence[tuple[str, Unauthenticated | Unavailable]]) -> Unauthenticated | Unavailable:
    detail = "; ".join(f"{name}: {error}" for name, error in failures)
    if not failures:
        return Unauthenticated(NO_CREDENTIAL, "no authenticator is configured, so nobody can be proven")
    for _, error in failures:
        if isinstance(error, Unavailable):
            return Unavailable(error.reason, detail)
    _, telling = max(failures, key=lambda failure: _TELLS.get(failure[1].reason, _TELLS_MOST))
    return Unauthenticated(telling.reason, detail)

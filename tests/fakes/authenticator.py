"""An authenticator that knows whom it will believe; passes tests/contract/test_authenticator.py."""

from __future__ import annotations

from collections.abc import Mapping

from meshca.errors import MeshcaError, Unauthenticated
from meshca.identity.caller import Caller, Credential


class FakeAuthenticator:
    """Implements `meshca.authn.chain.Authenticator` over a table of tokens.

    Args:
        name: its slug.
        tokens: token -> what proving it gives, a caller or an error.
        always: what every credential gives instead, an empty one included.
    """

    def __init__(
        self,
        *,
        name: str = "fake",
        tokens: Mapping[str, Caller | MeshcaError] | None = None,
        always: Caller | MeshcaError | None = None,
    ) -> None:
        self.name = name
        self.tokens = dict(tokens or {})
        self.asked = 0
        self._always = always

    async def prove(self, credential: Credential) -> Caller:
        """The caller of the table."""
        self.asked += 1
        answer = self._always if self._always is not None else self._look_up(credential)
        if isinstance(answer, MeshcaError):
            raise answer
        return answer

    def _look_up(self, credential: Credential) -> Caller | MeshcaError:
        if credential.unverified_token is None:
            return Unauthenticated("no_credential", "no bearer token was sent")
        unknown = Unauthenticated("token_malformed", "the test knows no such token")
        return self.tokens.get(credential.unverified_token.reveal(), unknown)

"""What the checks of a Vault look at: the configuration, the server as nobody, and the server as us by one login.

Each check tells a fault in the words of `upstream.vault.faults`, so that a log line and a finding say the same.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from meshca.authority.material import SigningMaterial
from meshca.clock import Clock
from meshca.config.vault import VaultAppRoleLogin, VaultConfig
from meshca.doctor.certificates import Certificates
from meshca.doctor.finding import Said, Unseen, unknown, wrong
from meshca.errors import MeshcaError, Unavailable
from meshca.identity.spiffe_id import TrustDomain
from meshca.upstream.vault.answer import Answer
from meshca.upstream.vault.client import Client, Method
from meshca.upstream.vault.faults import TABLE, Fault, failure, fault_of
from meshca.upstream.vault.logins import Token
from meshca.upstream.vault.session import Body

HEALTH: Final = "sys/health?standbyok=true&perfstandbyok=true&sealedcode=200&uninitcode=200&drsecondarycode=200"
SPENT: Final = "not tried: a wrapped secret id can be used once only, and the server needs it"
_VERSION: Final = re.compile(r"[0-9]+(\.[0-9]+){1,3}([-+.][0-9A-Za-z.+-]{1,40})?")  # it is shown

Login = Callable[[Client], Awaitable[Token]]


class Visit:
    """One login for all checks, and calls with its token; a refusal is no reason to log in again.

    Args:
        config: says how.
        client: asks.
        login: the configured method.
    """

    def __init__(self, config: VaultConfig, client: Client, login: Login) -> None:
        method = config.login.method
        self._wrapped = isinstance(method, VaultAppRoleLogin) and method.wrapped
        self._client = client
        self._login = login
        self._token: Token | None = None
        self._refused: Unavailable | None = None

    async def token(self) -> Token:
        """Ours.

        Raises:
            Unseen: a login would spend what the server needs.
            Unavailable: reason `vault_<fault>`; the same again without a further login.
        """
        if self._wrapped:
            raise Unseen(SPENT, "see `meshca status` and the log (vault.logged_in) of the server that runs")
        if self._refused is not None:
            raise self._refused
        if self._token is None:
            try:
                self._token = await self._login(self._client)
            except Unavailable as error:
                self._refused = error
                raise
        return self._token

    async def call(self, method: Method, path: str, body: Body = None) -> Answer:
        """One call as us.

        Raises:
            Unseen: nobody can log in; why is said by the check of the login.
            Unavailable: reason `vault_<fault>`.
        """
        try:
            token = await self.token()
        except Unavailable:
            raise Unseen("not logged in", "see what `vault-login` says") from None
        return await self._client.call(method, path, body() if callable(body) else body, token=token.value)

    def left(self, path: str) -> float:  # noqa: ARG002 - the port's
        """None: a check asks once, whatever failed before it."""
        return 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultPlace:
    """What the checks look at.

    Attributes:
        config: of the upstream, with what the environment adds.
        notes: what of the environment is not used.
        client: asks as nobody.
        visit: asks as us.
        trust_domain: that is signed for.
        clock: ours.
        leaf_lifetime: the longest that the server gives.
        known: roots that a running server has accepted, as far as we may see.
        dry: intermediates that a check has had signed for throw-away keys.
    """

    config: VaultConfig
    notes: tuple[str, ...]
    client: Client
    visit: Visit
    trust_domain: TrustDomain
    clock: Clock
    leaf_lifetime: timedelta
    known: Certificates = ()
    dry: list[SigningMaterial] = field(default_factory=list)

    async def health(self) -> Answer:
        """The server's health page; a server that is sealed or not initialised has one too.

        Raises:
            Unavailable: reason `vault_<fault>`.
        """
        answer = await self.client.of_server(HEALTH)
        if not _VERSION.fullmatch(answer.whole.text("version")):
            raise failure(Fault.ANSWER, "its version is none")
        return answer


def at_fault(error: MeshcaError) -> Said:
    """A fault as a finding; what is no fault of the table is not known to be wrong."""
    fault = fault_of(error) if isinstance(error, Unavailable) else None
    if fault is None:
        return unknown(error.detail)
    remedy = TABLE[fault].remedy
    return wrong(error.detail.removesuffix(f"; {remedy}"), remedy)


def of(fault: Fault, detail: str = "") -> Said:
    """A fault that was seen and not raised."""
    return at_fault(failure(fault, detail))

"""A Vault in memory: a mount with issuers, tokens that end by the fake clock, and the faults that a test wants.

It answers what `upstream.vault` asks, in place of the client; the wire and the statuses are tested elsewhere.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from datetime import timedelta

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from meshca.authority.material import certificate_id
from meshca.errors import Unavailable
from meshca.secret import Secret
from meshca.svid.signature import SigningKey, hash_for
from meshca.upstream.vault.answer import Answer, read_answer
from meshca.upstream.vault.client import NOBODY, Client, Method
from meshca.upstream.vault.faults import Fault, failure
from meshca.upstream.vault.logins import Token, token_of
from tests.fakes.clock import FakeClock
from tests.fakes.pki import SIGNS_CERTIFICATES, Ca

LOGIN = "auth/approle/login"
RENEWAL = "auth/token/renew-self"
SIGN = "pki/issuer/default/sign-intermediate"
SEEN = "pki/issuer/default/json"  # what a look asks first


class FakeVault(Client):
    """Implements what is asked of `upstream.vault.client.Client`.

    Args:
        clock: for the ends of tokens and certificates.
        issuers: of the mount `pki`, the first the default.

    Attributes:
        issuers: with what is above each.
        default: the one that signs.
        calls: the path of each call, in order.
        asked_at: when each path was asked, by the clock's monotonic seconds.
        error: raised instead of every answer, while it is set.
        errors: raised instead of the answers of one path.
        token_seconds: that a login gives.
        renewable: whether its tokens are.
        longest: seconds after its login that no renewal goes beyond.
        tokens: when each ends, by its value.
        signed: how many intermediates it has signed.
    """

    def __init__(self, clock: FakeClock, *issuers: tuple[Ca, ...]) -> None:
        self._clock = clock
        self.issuers = list(issuers)
        self.default = 0
        self.calls: list[str] = []
        self.asked_at: dict[str, list[float]] = {}
        self.error: Unavailable | None = None
        self.errors: dict[str, Unavailable] = {}
        self.token_seconds = 3600
        self.renewable = True
        self.longest = math.inf
        self.tokens: dict[str, float] = {}
        self.signed = 0
        self._last_ends: dict[str, float] = {}

    async def login(self, client: Client) -> Token:
        """A login of ours, for a session."""
        return token_of((await self.call("post", LOGIN)).auth)

    def revoke(self) -> None:
        """End every token."""
        self.tokens.clear()

    def times(self, path: str) -> int:
        """How often a path was asked."""
        return self.calls.count(path)

    async def call(
        self, method: Method, path: str, body: Mapping[str, object] | None = None, *, token: Secret[str] = NOBODY
    ) -> Answer:
        """As the client does, of what a test has put in."""
        self.calls.append(path)
        self.asked_at.setdefault(path, []).append(self._clock.monotonic())
        await asyncio.sleep(0)
        if error := self.error or self.errors.get(path):
            raise error
        if path == LOGIN:
            return self._logged_in()
        if method == "get":
            return read_answer({"data": self._read(path)})
        if self.tokens.get(token.reveal(), 0.0) <= self._clock.monotonic():
            raise failure(Fault.FORBIDDEN)
        if path == RENEWAL:
            return self._renewed(token.reveal())
        return read_answer({"data": self._sign(path, body or {})})

    def _logged_in(self) -> Answer:
        now, value = self._clock.monotonic(), f"token-{self.times(LOGIN)}"
        self.tokens[value], self._last_ends[value] = now + (self.token_seconds or math.inf), now + self.longest
        return self._auth(value, self.token_seconds)

    def _renewed(self, value: str) -> Answer:
        if not self.renewable:
            raise failure(Fault.BAD_REQUEST)
        now = self._clock.monotonic()
        self.tokens[value] = min(now + self.token_seconds, self._last_ends[value])
        return self._auth(value, int(self.tokens[value] - now))

    def _auth(self, value: str, seconds: int) -> Answer:
        return read_answer(
            {"auth": {"client_token": value, "lease_duration": seconds, "renewable": self.renewable}}
        )

    def _read(self, path: str) -> dict[str, object]:
        if path == "pki/issuers?list=true":
            return {"keys": [_id(issuer) for issuer in self.issuers]}
        issuer = self._issuer(path)
        return {
            "issuer_id": _id(issuer),
            "certificate": issuer[0].pem,
            "ca_chain": [ca.pem for ca in issuer],
        }

    def _issuer(self, path: str) -> tuple[Ca, ...]:
        ref = path.split("/")[2]
        by_id = {_id(issuer): issuer for issuer in self.issuers}
        return by_id.get(ref, self.issuers[self.default])

    def _sign(self, path: str, body: Mapping[str, object]) -> dict[str, object]:
        self.signed += 1
        issuer = self._issuer(path)
        made = intermediate(issuer[0], body, self._clock)
        return {"certificate": made, "ca_chain": [made, *(ca.pem for ca in issuer)]}


def _id(issuer: tuple[Ca, ...]) -> str:
    return certificate_id(issuer[0].certificate)[:36]


def intermediate(issuer: Ca, body: Mapping[str, object], clock: FakeClock) -> str:
    """PEM of what was asked for, as a server signs it."""
    csr = x509.load_pem_x509_csr(str(body["csr"]).encode())
    key = csr.public_key()
    lasts = timedelta(seconds=int(str(body["ttl"]).removesuffix("s")))
    signer: SigningKey = issuer.key
    builder = (
        x509.CertificateBuilder()
        .subject_name(csr.subject)
        .issuer_name(issuer.certificate.subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(clock.now() - timedelta(seconds=30))
        .not_valid_after(clock.now() + lasts)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(SIGNS_CERTIFICATES, critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(str(body["uri_sans"]))]), critical=False
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    return builder.sign(signer, hash_for(signer)).public_bytes(Encoding.PEM).decode()

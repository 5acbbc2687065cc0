"""Service-account tokens checked locally, by the public keys of the issuers that are configured.

Steps, each of which ends the proof with its own reason:
 1. at most 16 KiB, before anything is decoded    token_too_large
 2. one JWS in compact form, strict header        token_malformed
 3. `iss` is exactly one of ours                  token_issuer
 4. the algorithm is allowed for that issuer      token_algorithm
 5. its key is known and fits the algorithm       token_unknown_key, token_algorithm
 6. the signature                                 token_signature
 7. times, audience, subject, binding, labels     see `claims`

Until step 6 nothing of the claims is used but `iss`. A token that was proven once is remembered by its hash
until it expires or its issuer's keys change, since the same token comes with every renewal.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from meshca.authn.chain import NO_CREDENTIAL, WRONG_ISSUER
from meshca.authn.claims import Expectation, read_claims
from meshca.authn.compact import check_size, take_apart
from meshca.authn.key_source import source_of
from meshca.authn.keyset import KeySet
from meshca.clock import Clock
from meshca.config.authn import MAX_LEEWAY, JwksConfig
from meshca.errors import Unauthenticated
from meshca.identity.caller import Caller, Credential
from meshca.log import log

FILE_INTERVAL: Final = timedelta(seconds=1)  # how often a file is read again
REMEMBERED: Final = 2048  # tokens, about 2 KB each


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedIssuer:
    """An issuer of tokens, ready to be asked."""

    issuer: str
    algorithms: frozenset[str]
    expected: Expectation
    keys: KeySet

    @classmethod
    def of(cls, config: JwksConfig, keys: KeySet) -> TrustedIssuer:
        """The issuer that a configuration describes."""
        return cls(
            issuer=config.issuer,
            algorithms=frozenset(config.algorithms),
            expected=Expectation(
                issuer=config.name,
                audiences=frozenset(config.audiences),
                leeway=config.leeway,
                labels_claim=config.labels_claim,
            ),
            keys=keys,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Proof:
    caller: Caller
    ends: datetime  # `exp` with leeway
    issuer: TrustedIssuer
    version: int  # of the issuer's keys


class JwksAuthenticator:
    """Proves callers by tokens of several issuers; no two have the same `iss`."""

    name = "jwks"

    def __init__(self, issuers: Sequence[TrustedIssuer], clock: Clock, *, remembered: int = REMEMBERED) -> None:
        self._issuers = {issuer.issuer: issuer for issuer in issuers}
        self._clock = clock
        self._remembered = remembered
        self._proofs: OrderedDict[bytes, _Proof] = OrderedDict()

    async def prove(self, credential: Credential) -> Caller:
        """The caller that a bearer token proves.

        Raises:
            Unauthenticated: reason `no_credential` or one of the module's list.
            Unavailable: reason `issuer_keys`, when the issuer's keys could not be fetched yet.
        """
        if credential.unverified_token is None:
            raise Unauthenticated(NO_CREDENTIAL, "no bearer token was sent")
        token = credential.unverified_token.reveal()
        check_size(token)
        digest = hashlib.sha256(token.encode(errors="surrogatepass")).digest()
        known = self._known(digest)
        if known is not None:
            return replace(known, proven_at=self._clock.now())
        proof = await self._prove(token)
        self._remember(digest, proof)
        return proof.caller

    async def _prove(self, unverified_token: str) -> _Proof:
        token = take_apart(unverified_token)
        issuer = self._issuer(token.unverified_claims.get("iss"))
        if token.header.algorithm not in issuer.algorithms:
            allowed = ", ".join(sorted(issuer.algorithms))
            raise Unauthenticated("token_algorithm", f"{issuer.expected.issuer} may use {allowed} only")
        key = await issuer.keys.find(token.header.key_id)
        version = issuer.keys.version
        key.verify(token.header.algorithm, token.signing_input, token.signature)
        caller = read_claims(token.unverified_claims, issuer.expected, self._clock.now())
        ends = caller.until + min(issuer.expected.leeway, MAX_LEEWAY)
        return _Proof(caller=caller, ends=ends, issuer=issuer, version=version)

    def _issuer(self, unverified_name: object) -> TrustedIssuer:
        issuer = self._issuers.get(unverified_name) if isinstance(unverified_name, str) else None
        if issuer is None:
            raise Unauthenticated(WRONG_ISSUER, "iss is none of the configured issuers")
        return issuer

    def _known(self, digest: bytes) -> Caller | None:
        """The caller of a token that was proven before and still holds; None when it must be proven anew."""
        proof = self._proofs.get(digest)
        if proof is None:
            return None
        if self._clock.now() >= proof.ends or proof.version != proof.issuer.keys.version:
            del self._proofs[digest]
            return None
        self._proofs.move_to_end(digest)
        return proof.caller

    def _remember(self, digest: bytes, proof: _Proof) -> None:
        self._proofs[digest] = proof
        if len(self._proofs) > self._remembered:
            self._proofs.popitem(last=False)


@contextlib.asynccontextmanager
async def open_(configs: Sequence[JwksConfig], clock: Clock) -> AsyncIterator[JwksAuthenticator]:
    """An authenticator for these issuers, with their keys kept fresh while it is open.

    It is ready at once: until an issuer's keys were fetched its tokens are answered with Unavailable.
    """
    issuers = [TrustedIssuer.of(config, _keyset(config, clock)) for config in configs]
    refreshers = [asyncio.create_task(issuer.keys.run(), name=issuer.expected.issuer) for issuer in issuers]
    for task in refreshers:
        task.add_done_callback(_tell_if_it_died)
    try:
        yield JwksAuthenticator(issuers, clock)
    finally:
        for task in refreshers:
            task.cancel()
        for issuer in issuers:
            issuer.keys.close()
        await asyncio.gather(*refreshers, return_exceptions=True)


def _tell_if_it_died(refresher: asyncio.Task[None]) -> None:
    """A fault of our own leaves the keys as they are; it must not do so in silence."""
    if not refresher.cancelled() and (fault := refresher.exception()) is not None:
        log.error("authn.refresh_died", issuer=refresher.get_name(), exc_info=fault)


def _keyset(config: JwksConfig, clock: Clock) -> KeySet:
    on_disk = config.keys.file is not None
    return KeySet(
        config.name,
        source_of(config),
        clock,
        refresh=FILE_INTERVAL if on_disk else config.keys.refresh_interval,
        refetch=FILE_INTERVAL if on_disk else config.keys.min_refetch_interval,
    )

"""Configuration of the authenticators: who may prove callers, and how."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from meshca.config.model import Duration, FilePath, Model, PositiveDuration

MAX_LEEWAY = timedelta(seconds=60)  # hard ceiling: a longer leeway would revive tokens, not bridge clocks

# JWT-SVID.md rule J2's list less the sizes that no Kubernetes issuer uses; HS* and none can not be configured.
Algorithm = Literal["RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512"]

# Settings of a download; a file is looked at each second.
_DOWNLOAD_ONLY: Final = ("ca_file", "refresh_interval", "min_refetch_interval", "timeout")


class KeysConfig(Model):
    """Where an issuer's keys (JWK Set) come from: exactly one of file, url and discovery.

    Attributes:
        file: a JWK Set on disk, re-read when it changes; of the settings below only max_bytes goes with it.
        url: address of a JWK Set; https unless the host is loopback.
        discovery: true to ask the issuer's /.well-known/openid-configuration.
        ca_file: roots for https; the system's when absent.
        refresh_interval: how long fetched keys are used before they are fetched again.
        min_refetch_interval: the shortest time between two fetches for an unknown key id.
        timeout: of one fetch, connection and body together.
        max_bytes: of the file or of one answer.
    """

    file: FilePath | None = None
    url: str | None = None
    discovery: bool = False
    ca_file: FilePath | None = None
    refresh_interval: PositiveDuration = timedelta(minutes=5)
    min_refetch_interval: PositiveDuration = timedelta(seconds=30)
    timeout: PositiveDuration = timedelta(seconds=5)
    max_bytes: Annotated[int, Field(ge=1024, le=1024 * 1024)] = 256 * 1024

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if sum((self.file is not None, self.url is not None, self.discovery)) != 1:
            raise ValueError("give exactly one of file, url and discovery: true")
        if self.url is not None and not self.url.startswith(
            ("https://", "http://127.0.0.1:", "http://localhost:")
        ):
            raise ValueError("url must begin with https:// (http:// only for 127.0.0.1 and localhost)")
        idle = [name for name in _DOWNLOAD_ONLY if self.file is not None and name in self.model_fields_set]
        if idle:
            raise ValueError(f"{', '.join(idle)}: only for url and discovery; leave out beside file")
        return self

    @model_serializer(mode="wrap")
    def _what_counts(self, written: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """What is shown and handed on leaves out what a file has no use for."""
        tree: dict[str, Any] = written(self)
        return {key: value for key, value in tree.items() if self.file is None or key not in _DOWNLOAD_ONLY}


class JwksConfig(Model):
    """One issuer of service-account tokens, checked locally by its public keys.

    Attributes:
        name: our name for the issuer: what admission rules, the ledger and logs call it.
        issuer: the exact `iss` claim.
        audiences: a token must carry at least one of these in `aud`.
        algorithms: accepted signature algorithms.
        leeway: tolerance for the clocks, at most 60 s.
        labels_claim: name of a claim with workload labels that this issuer is trusted for; none by default.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\z")] = "home"
    issuer: Annotated[str, Field(min_length=1, max_length=1024)]
    audiences: Annotated[tuple[str, ...], Field(strict=False, min_length=1)] = ("istio-ca",)
    algorithms: Annotated[tuple[Algorithm, ...], Field(strict=False, min_length=1)] = ("RS256", "ES256")
    leeway: Duration = timedelta(seconds=10)
    keys: KeysConfig
    labels_claim: str | None = None

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.leeway > MAX_LEEWAY:
            raise ValueError("leeway must be at most 60s")
        if self.keys.discovery and not self.issuer.startswith(
            ("https://", "http://127.0.0.1:", "http://localhost:")
        ):
            raise ValueError("keys.discovery needs an issuer that begins with https://")
        return self


class ClientCertConfig(Model):
    """Renewal by a still valid certificate of our own trust domain, on the mTLS port.

    Attributes:
        enabled: whether certificates prove callers at all.
        max_lineage_age: how long after its token a chain of renewals may go on (a stolen key must not renew
            for ever).
    """

    enabled: bool = True
    max_lineage_age: PositiveDuration = timedelta(days=7)


class AuthnConfig(Model):
    """The chain: a client certificate first, then each issuer of tokens."""

    client_cert: ClientCertConfig = ClientCertConfig()
    issuers: Annotated[tuple[JwksConfig, ...], Field(strict=False)] = ()

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        for field in ("name", "issuer"):
            values = [getattr(issuer, field) for issuer in self.issuers]
            if len(values) != len(set(values)):
                raise ValueError(f"issuers: each {field} must be used once")
        return self

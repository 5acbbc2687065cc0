"""What every configuration model is made of: strict, frozen, no unknown keys, and typed scalars.

A scalar says what it expects; pydantic's own words would name Python types. Nothing here reads a file.
"""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, PlainSerializer, PlainValidator

from meshca.duration import format_duration, parse_duration
from meshca.errors import BadRequest
from meshca.identity.spiffe_id import TrustDomain

_LISTEN = re.compile(r"(?P<host>\[[0-9a-fA-F:]+\]|[0-9A-Za-z.-]+):(?P<port>\d{1,5})")
_MAX_PORT = 65535


class Model(BaseModel):
    """Strict and frozen; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, validate_default=False)


def _duration(value: object) -> timedelta:
    if isinstance(value, timedelta):
        return value
    return parse_duration(value if isinstance(value, str) else "")  # a bare number is refused as no text is


def _positive(value: timedelta) -> timedelta:
    if value <= timedelta(0):
        raise ValueError("must be longer than 0s")
    return value


def at_most(longest: timedelta) -> AfterValidator:
    """Refuses a longer duration."""

    def check(value: timedelta) -> timedelta:
        if value > longest:
            raise ValueError(f"must be at most {format_duration(longest)}")
        return value

    return AfterValidator(check)


def _trust_domain(value: object) -> TrustDomain:
    if isinstance(value, TrustDomain):
        return value
    if not isinstance(value, str):
        raise ValueError("expected the name of a trust domain, such as cluster.local")  # noqa: TRY004 - pydantic wants ValueError
    try:
        trust_domain = TrustDomain(value)
    except BadRequest as error:
        raise ValueError(error.detail) from None
    # Legal for SPIFFE, but programs in Go refuse a certificate that names such a host.
    if not all(value.split(".")):
        raise ValueError("must have no empty label: no dot at an end, and no two together")
    return trust_domain


def _listen(value: str) -> str:
    match = _LISTEN.fullmatch(value)
    if match is None or int(match["port"]) > _MAX_PORT:
        raise ValueError(
            "expected host:port, such as 0.0.0.0:15012, [::]:15012 or 127.0.0.1:0 (0 = any free port)"
        )
    return value


def _path(value: object) -> Path:
    if isinstance(value, Path):
        return value
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError("expected a path")
    return Path(value)


Duration = Annotated[timedelta, PlainValidator(_duration), PlainSerializer(format_duration)]
PositiveDuration = Annotated[Duration, AfterValidator(_positive)]
TrustDomainName = Annotated[TrustDomain, PlainValidator(_trust_domain), PlainSerializer(str)]
ListenAddress = Annotated[str, AfterValidator(_listen)]
FilePath = Annotated[Path, PlainValidator(_path), PlainSerializer(str)]

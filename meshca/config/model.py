"""What every configuration model is made of: strict, frozen, no unknown keys, and typed scalars.

Durations carry a unit (`24h`), so that nobody has to know whether a number means seconds.
"""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, PlainSerializer, PlainValidator

from meshca.errors import BadRequest
from meshca.identity.spiffe_id import TrustDomain

_DURATION = re.compile(r"(?:(\d{1,6})d)?(?:(\d{1,6})h)?(?:(\d{1,6})m(?!s))?(?:(\d{1,6})s)?(?:(\d{1,6})ms)?")
_LISTEN = re.compile(r"(?P<host>\[[0-9a-fA-F:]+\]|[0-9A-Za-z.-]+):(?P<port>\d{1,5})")
_MAX_PORT = 65535


class Model(BaseModel):
    """Strict and frozen; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, validate_default=False)


def parse_duration(value: object) -> timedelta:
    """Read `90s`, `10m`, `24h`, `7d`, `250ms` or a row of them such as `1h30m`.

    Raises:
        ValueError: when it is anything else, a bare number included.
    """
    if isinstance(value, timedelta):
        return value
    match = _DURATION.fullmatch(value) if isinstance(value, str) and value else None
    if match is None:
        raise ValueError("expected a duration with a unit, such as 24h, 10m, 90s or 250ms")
    days, hours, minutes, seconds, milliseconds = (int(part or 0) for part in match.groups())
    return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds, milliseconds=milliseconds)


def format_duration(value: timedelta) -> str:
    """The shortest spelling that `parse_duration` reads back."""
    milliseconds = round(value / timedelta(milliseconds=1))
    parts = []
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, milliseconds = divmod(milliseconds, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def _positive(value: timedelta) -> timedelta:
    if value <= timedelta(0):
        raise ValueError("must be longer than 0s")
    return value


def _trust_domain(value: object) -> TrustDomain:
    if isinstance(value, TrustDomain):
        return value
    if not isinstance(value, str):
        raise ValueError("expected the name of a trust domain, such as cluster.local")  # noqa: TRY004 - pydantic wants ValueError
    try:
        return TrustDomain(value)
    except BadRequest as error:
        raise ValueError(error.detail) from None


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


Duration = Annotated[timedelta, PlainValidator(parse_duration), PlainSerializer(format_duration)]
PositiveDuration = Annotated[Duration, AfterValidator(_positive)]
TrustDomainName = Annotated[TrustDomain, PlainValidator(_trust_domain), PlainSerializer(str)]
ListenAddress = Annotated[str, AfterValidator(_listen)]
FilePath = Annotated[Path, PlainValidator(_path), PlainSerializer(str)]

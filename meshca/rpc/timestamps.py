"""Instants and spans of time as protobuf has them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp


def timestamp(instant: datetime | None) -> Timestamp | None:
    """An instant as a message; None leaves the field out."""
    if instant is None:
        return None
    message = Timestamp()
    message.FromDatetime(instant)
    return message


def instant(message: Timestamp) -> datetime:
    """The instant, in UTC."""
    return message.ToDatetime(tzinfo=UTC)


def duration(span: timedelta | None) -> Duration | None:
    """A span of time as a message; None leaves the field out."""
    if span is None:
        return None
    message = Duration()
    message.FromTimedelta(span)
    return message


def span(message: Duration) -> timedelta:
    """The span of time.

    Raises:
        OverflowError: it is too long for a `timedelta`.
    """
    return message.ToTimedelta()

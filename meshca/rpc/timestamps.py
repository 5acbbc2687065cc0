"""Instants as protobuf has them."""

from __future__ import annotations

from datetime import UTC, datetime

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

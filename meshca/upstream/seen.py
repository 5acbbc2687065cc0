"""What the driver has seen of an upstream: others who look meanwhile must not turn a change into none for it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


class Seen:
    """Of one upstream."""

    def __init__(self) -> None:
        self._what = ""
        self._is_noted = False

    def note(self, what: str) -> None:
        """See something: it counts if it is the first since a change was watched for last.

        Who sees more later in the same turn, or while a change is watched for, has seen it for itself alone.
        """
        if not self._is_noted:
            self._what, self._is_noted = what, True

    @contextlib.contextmanager
    def watched(self) -> Iterator[str]:
        """While a change is watched for: what it would be a change from."""
        try:
            yield self._what
        finally:
            self._is_noted = False

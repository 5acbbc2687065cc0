"""The shape of what a server answers, read in one place: past it nobody sees a `dict`.

Whether a certificate in it is what was asked for is for `upstream.vault.signed`. An answer can hold a token: it
must never be shown.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from meshca.printable import printable
from meshca.upstream.vault.faults import Fault, failure

MOST: Final = 64  # certificates in one chain, or issuers in one mount
_SHOWN: Final = 300  # characters of one warning
_LONGEST: Final = 2**31  # seconds; what is longer is a mistake


@dataclass(frozen=True, slots=True)
class Part:
    """One object of an answer, with typed questions.

    Attributes:
        fields: as they came.
    """

    fields: Mapping[str, object] = field(repr=False)

    def has(self, name: str) -> bool:
        """Whether there is a text."""
        return isinstance(self.fields.get(name), str)

    def text(self, name: str) -> str:
        """A text in ASCII, as all are that we ask for: certificates, names and tokens.

        Raises:
            Unavailable: reason `vault_answer`, when there is none.
        """
        value = self.fields.get(name)
        if not isinstance(value, str) or not value or not value.isascii():
            raise failure(Fault.ANSWER, f"it has no text {name}")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of texts in ASCII, empty when it is not there.

        Raises:
            Unavailable: reason `vault_answer`, when it is something else, or too long.
        """
        value = self.fields.get(name) or []
        if not isinstance(value, list) or len(value) > MOST:
            raise failure(Fault.ANSWER, f"its {name} is not a list of at most {MOST} texts")
        texts = tuple(one for one in value if isinstance(one, str) and one.isascii())
        if len(texts) < len(value):
            raise failure(Fault.ANSWER, f"its {name} holds something else than texts")
        return texts

    def seconds(self, name: str) -> int:
        """A whole number of seconds from 0 on.

        Raises:
            Unavailable: reason `vault_answer`, when there is none.
        """
        value = self.fields.get(name)
        if type(value) is not int or not 0 <= value < _LONGEST:
            raise failure(Fault.ANSWER, f"it has no number {name}")
        return value

    def flag(self, name: str) -> bool:
        """Whether something is said to be so; anything but true is no."""
        return self.fields.get(name) is True

    def part(self, name: str) -> Part:
        """An object inside, empty when there is none."""
        value = self.fields.get(name)
        return Part({str(key): inner for key, inner in value.items()} if isinstance(value, dict) else {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer.

    Attributes:
        whole: all of it; pages such as the server's health have no data.
        data: what it is about.
        auth: what a login gave; empty for any other.
        warnings: what the server remarks, made harmless for a log.
    """

    whole: Part
    data: Part
    auth: Part
    warnings: tuple[str, ...]


def parsed(raw: bytes) -> object:
    """A body as a value: an empty object when there is none, and None when it is no JSON."""
    if not raw:
        return {}
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):  # the latter is what a deep nest of brackets gives
        return None


def read_answer(body: object) -> Answer:
    """An answer as the server's API has it.

    Raises:
        Unavailable: reason `vault_not_vault`, when it is something else.
    """
    if not isinstance(body, dict):
        raise failure(Fault.NOT_VAULT, "it answers no JSON object")
    whole = Part(body)
    remarks = body.get("warnings")
    warnings = remarks[:MOST] if isinstance(remarks, list) else []
    return Answer(
        whole=whole,
        data=whole.part("data"),
        auth=whole.part("auth"),
        warnings=tuple(printable(one[:_SHOWN]) for one in warnings if isinstance(one, str)),
    )


def errors_in(body: object) -> tuple[str, ...] | None:
    """What the server says went wrong; None when these are not the words of a Vault."""
    said = body.get("errors") if isinstance(body, dict) else None
    return tuple(one for one in said if isinstance(one, str)) if isinstance(said, list) else None

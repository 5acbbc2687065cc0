"""The values that go into and come out of an xDS session.

A resource's body may hold a private key: it must never appear in a repr or a log line.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """A named resource, ready to be sent.

    Attributes:
        name: as the client asks for it.
        version: hash of the content; in a `Push` it may carry a suffix that makes it new to the client.
        body: the serialized message of the subscription's type.
        anew: writes the same content in other bytes, made unique by a mark; for a type of which clients
            acknowledge unseen what has the bytes of the push before, also when they have refused that.
    """

    name: str
    version: str
    body: bytes = field(repr=False)
    anew: Callable[[str], bytes] | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """Send this. `version` covers all resources (`version_info`, `system_version_info`)."""

    nonce: str
    version: str
    resources: tuple[Resource, ...]


def joint_version(resources: Sequence[Resource]) -> str:
    """One resource's own version, or a hash over the names and versions of several."""
    if len(resources) == 1:
        return resources[0].version
    lines = sorted(f"{resource.name}={resource.version}" for resource in resources)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscribed:
    """The client changed its names.

    Attributes:
        names: the whole set now.
        held: the content version that the first request of a stream says is held, empty otherwise.
    """

    names: frozenset[str]
    held: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """These content versions, by name, are on their way."""

    versions: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopted:
    """The client acknowledged these content versions, by name.

    It comes again when the client repeats its acknowledgement. `recovered` is set when one of the names
    had been refused before, and this is other content: what the client refused meanwhile may now pass.
    """

    versions: Mapping[str, str]
    recovered: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The client refused a push. With several names it is not known which of them was the reason.

    Attributes:
        versions: content versions by name.
        error: the client's own words; untrusted.
    """

    versions: Mapping[str, str]
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Overdue:
    """The client did not answer in time; the next update will be sent all the same."""

    versions: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """The client asks for these names and we do not have them (yet)."""

    names: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stale:
    """An answer to an outdated nonce was ignored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """The stream has ended; this was subscribed to."""

    names: frozenset[str]


Event = Subscribed | Sent | Adopted | Refused | Overdue | Pending | Stale | Closed

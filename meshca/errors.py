"""Every error that crosses a room, in one tree.

    MeshcaError
    ├── Unauthenticated   who is calling could not be proven
    ├── Denied            proven, but no admission rule grants the wish
    ├── BadRequest        the request itself is wrong: CSR, duration, metadata
    ├── Exhausted         too many requests; carries when to try again
    ├── Unavailable       nothing wrong with the request; try again later
    ├── NotFound          the thing asked for does not exist
    ├── Refused           an administrator's wish that would break somebody now; says whom and what to do
    ├── Conflict          another administrator, or another replica, was first; look again
    ├── InvariantBroken   our own fault: a rule of ours would have been broken
    └── ConfigError       a file or flag of the operator is wrong; never on the wire

An error is inert data. `reason` is a stable slug (log field, metric label, response trailer), `detail`
is private: it goes into the log with a request id and never onto the wire. Only the outermost
interceptor (`wire.interceptors`) turns errors into gRPC statuses.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar


class MeshcaError(Exception):
    """The root of the tree; raised only as one of its subclasses.

    Attributes:
        code: numeric gRPC status code (google.rpc.Code).
        public: the fixed sentence that a client sees.
        reason: stable slug of why, lower_snake_case.
        detail: private explanation for the log.
    """

    code: ClassVar[int] = 13
    public: ClassVar[str] = "internal error"

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


class Unauthenticated(MeshcaError):
    """Who is calling could not be proven."""

    code = 16
    public = "the caller could not be authenticated"


class Denied(MeshcaError):
    """The caller is proven, but admission does not grant what it asks for."""

    code = 7
    public = "the caller may not have what it asks for"


class BadRequest(MeshcaError):
    """The request is wrong in itself; sending it again cannot help.

    Its detail names the field and the expectation, is built from our own words only (never from a
    library's exception text), and is the one detail that the client may see.
    """

    code = 3
    public = "the request is not valid"


class Exhausted(MeshcaError):
    """Too many requests.

    Attributes:
        retry_after: seconds after which a new try can succeed.
    """

    code = 8
    public = "too many requests"

    def __init__(self, reason: str, detail: str, *, retry_after: float) -> None:
        super().__init__(reason, detail)
        self.retry_after = retry_after


class Unavailable(MeshcaError):
    """The service cannot answer now; the same request may succeed later."""

    code = 14
    public = "the service is not available now, try again later"


class NotFound(MeshcaError):
    """The thing asked for does not exist."""

    code = 5
    public = "not found"


class Refused(MeshcaError):
    """What an administrator asks for would do harm now; it can be asked again once its cause is gone.

    Its detail says who would break and what to do, and is shown to administrators.
    """

    code = 9
    public = "this cannot be done now"


class Conflict(MeshcaError):
    """What the wish was based on has changed meanwhile; nothing was done."""

    code = 10
    public = "somebody else was first; look again"


class InvariantBroken(MeshcaError):
    """A rule of our own would have been broken; nothing was given out."""

    code = 13
    public = "internal error"


class ConfigError(MeshcaError):
    """A file, flag or environment variable of the operator is wrong.

    Attributes:
        problems: every problem found, each naming its place, what was expected and what to do.
    """

    code = 9
    public = "the configuration is not valid"

    def __init__(self, source: str, problems: Sequence[str]) -> None:
        super().__init__("config", f"{source}: " + "; ".join(problems))
        self.source = source
        self.problems = tuple(problems)

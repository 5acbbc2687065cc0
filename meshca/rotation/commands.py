"""What an administrator can ask of the roots; the port that `rpc` calls and `rotation` implements.

Each is one commit of the whole state: it happens entirely, or the caller is told why not. None of them waits for
a gate: a step that is not safe now is refused with who would break.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from meshca.authority.history import Bundle, Change, Lifecycle, Record, Request
from meshca.authority.lifecycle import Act
from meshca.rotation.report import Forecast, RootReport


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Who asks, and why.

    Attributes:
        by: the proven name of who asks: a SPIFFE ID, or `uid 0` on the local socket.
        reason: in their words; what is forced or compromised needs one.
        force: do it although its gate is closed. Recorded.
        compromised: they know that a key is stolen.
        request: what they approved, and is done by it: it waits no more once it is done, and waits on otherwise.
    """

    by: str
    reason: str = ""
    force: bool = False
    compromised: bool = False
    request: Request | None = None


class RootCommands(Protocol):
    """The acts on roots.

    Every method raises, beside what it names: `Unavailable` when store or upstream cannot be used now, `Conflict`
    when somebody else was first, `NotFound` for an unknown id and, reason `request`, when what was approved does
    not wait any more, `Refused` with reason `transition`.
    """

    async def report(self) -> RootReport:
        """How the roots stand now."""
        ...

    async def lifecycle(self) -> Lifecycle:
        """Everything that is kept: roots, intermediates, bundles."""
        ...

    async def changes(self, limit: int) -> Sequence[Change]:
        """The newest transitions, newest first."""
        ...

    async def bundle(self, sequence: int | None = None) -> tuple[Bundle, Sequence[Record]]:
        """A bundle that was given out, with its roots; the one in force when no sequence is named."""
        ...

    async def forecast(self, *, compromised: bool, window: timedelta | None, root: str = "") -> Forecast:
        """What `rotate` would do, from where the roots stand now; changes nothing.

        Raises:
            Refused: as `rotate`; what only shows when a root was made is not foretold.
        """
        ...

    async def foresee(
        self, act: Act, root: str, *, force: bool = False, window: timedelta | None = None
    ) -> Forecast:
        """What `activate`, `retire` or `taint` would do, up to the end of it; changes nothing."""
        ...

    async def foresee_course(self, act: Act, *, compromised: bool) -> Forecast:
        """What `pause`, `resume` or `abort` would do to the rotation under way; changes nothing.

        Raises:
            Refused: as the act.
        """
        ...

    async def prepare(self, asked: Asked, *, same_key: bool = False) -> Record:
        """Make a root and begin to distribute it.

        Raises:
            Refused: reasons `rotation_under_way`, `upstream`, `bad_root`, `bundle_too_large`.
        """
        ...

    async def activate(self, asked: Asked, root: str) -> None:
        """Sign below it from now on.

        Raises:
            Refused: reason `gate_closed`.
        """
        ...

    async def taint(self, asked: Asked, root: str, window: timedelta | None) -> None:
        """Have every leaf below it replaced within a window."""
        ...

    async def retire(self, asked: Asked, root: str) -> None:
        """Trust it no more, and delete its key.

        Raises:
            Refused: reason `gate_closed`.
        """
        ...

    async def rotate(self, asked: Asked, *, compromised: bool, window: timedelta | None, root: str = "") -> Record:
        """Begin the whole rotation, all steps taken as their gates open; or go on with the one that is under way.

        Gives the root that signs at its end. The root whose key is stolen must be named when two have signed.

        Raises:
            Refused: as `aim.aimed`; reasons `upstream`, `bad_root`, `bundle_too_large`.
        """
        ...

    async def pause(self, asked: Asked) -> None:
        """Take no step by itself until `resume`.

        Raises:
            Refused: reason `compromised`, when a stolen root would stay trusted by it and that is not said.
        """
        ...

    async def resume(self, asked: Asked) -> None:
        """Take steps by itself again.

        Raises:
            Refused: as `pause`.
        """
        ...

    async def abort(self, asked: Asked) -> None:
        """Go back to the state before the rotation.

        Raises:
            Refused: as `pause`; reason `too_late`, when the old root is not trusted any more.
        """
        ...

    async def propose(self, request: Request) -> Request:
        """Keep a dangerous act until a second person approves it; forget those whose time is over.

        Gives what waits: the one from before, when the same person has asked for the same already.

        Raises:
            Refused: reason `too_many_requests`.
        """
        ...

    async def end(self, request: str, act: Act, asked: Asked) -> Request:
        """Have a request not be done, by its id.

        Args:
            request: its id.
            act: `WITHDRAW` or `DENY`.
            asked: by whom, and why.

        Raises:
            NotFound: reason `request`: there is none, or its time is over.
        """
        ...

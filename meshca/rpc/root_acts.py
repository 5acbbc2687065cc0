"""The acts on roots, one row for each RPC: what its message must hold, how dangerous it is, what it does.

A row is used twice: when an act is asked for, and when a second person approves it. Nothing here decides who may.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import Any, Final

from meshca._proto.meshca.admin.v1 import roots_pb2
from meshca.authority.history import Lifecycle, Record
from meshca.authority.lifecycle import Act
from meshca.config.admin import Danger
from meshca.config.rotation import LONGEST_WINDOW
from meshca.duration import format_duration
from meshca.errors import BadRequest
from meshca.rotation.aim import Wish, aimed
from meshca.rotation.commands import Asked, RootCommands
from meshca.rotation.report import Forecast, ForecastStep
from meshca.rpc.timestamps import span

MAX_REASON: Final = 500  # characters
_STOLEN: Final = "away from a root whose key is not ours alone"
_KEPT: Final = f"{_STOLEN}, which stays trusted"
_ID: Final = re.compile(r"[0-9a-f]{64}")  # `certificate_id`

Do = Callable[[RootCommands, Any, Asked], Awaitable[Record | None]]
Settle = Callable[[Lifecycle, Any], Any]
Foresee = Callable[[RootCommands, Any], Awaitable[Forecast]]


@dataclass(frozen=True, slots=True)
class RootAct:
    """One act.

    Attributes:
        message: the type of its request.
        do: does it.
        says: it in words; what it is done to, and how, is added.
        danger: what it is called in `admin.second_person`; None when only force or a compromise are. A rotation
            ends by retiring a root, so it is no way around the second person of that.
        foresee: tells what it would do, and who would break; None for what breaks nobody.
        urgent: it in words, where it is said that a key is stolen.
        keeps: whether a stolen root goes on to be trusted by it, so that nothing about it is urgent.
        settle: says in the message what is only clear from how the roots stand now, so that it is done as it was
            shown; None when nothing is left open.
    """

    message: type[Any]
    do: Do
    says: str
    danger: Danger | None = None
    foresee: Foresee | None = None
    urgent: str = "because its key is not ours alone"
    settle: Settle | None = None
    keeps: bool = False

    def check(self, request: Any) -> None:  # noqa: ANN401 - a message of the row's type
        """Refuse a request that is wrong in itself.

        Raises:
            BadRequest: reasons `reason`, `root` and `window`.
        """
        if len(request.reason) > MAX_REASON:
            raise BadRequest("reason", f"reason must be at most {MAX_REASON} characters")
        if self.dangers(request) - {"retire"} and not request.reason.strip():
            raise BadRequest("reason", "reason must say why, because this is recorded as forced or compromised")
        if "root" in self.message.DESCRIPTOR.fields_by_name and (request.root or self.settle is None):
            _check_root(request)
        window_of(request)

    def dangers(self, request: Any) -> frozenset[Danger]:  # noqa: ANN401 - as above
        """What is dangerous in it."""
        found: set[Danger] = {self.danger} if self.danger else set()
        if getattr(request, "force", False):
            found.add("force")
        if getattr(request, "compromised", False):
            found |= {"compromised", "taint"}
        if "taint" in found:  # the root is dropped at the window's end, whatever its gate says
            found |= {"retire", "force"}
        return frozenset(found)

    def is_urgent(self, request: Any) -> bool:  # noqa: ANN401 - as above
        """Whether a stolen root goes by it."""
        return "taint" in self.dangers(request) and not self.keeps

    def words(self, request: Any) -> str:  # noqa: ANN401 - as above
        """What it would do."""
        root = getattr(request, "root", "")
        parts = [self.says, root[:16]] if root else [self.says]
        if getattr(request, "force", False):
            parts.append("although its gate is closed")
        if getattr(request, "compromised", False):
            parts.append(self.urgent)
        if (window := window_of(request)) is not None:
            parts.append(f"within {format_duration(window)}")
        return " ".join(parts)

    def settled(self, lifecycle: Lifecycle, request: Any) -> Any:  # noqa: ANN401 - as above
        """The request with nothing left open.

        Raises:
            Refused, NotFound: as what is wished cannot be done.
        """
        return request if self.settle is None else self.settle(lifecycle, request)

    async def forecast(self, commands: RootCommands, request: Any) -> Forecast:  # noqa: ANN401 - as above
        """What it would do.

        Raises:
            Refused, NotFound, Unavailable: as the commands.
        """
        if self.foresee is not None:
            return await self.foresee(commands, request)
        plan = (await commands.lifecycle()).plan
        return Forecast(steps=(ForecastStep(says=self.words(request)),), plan=plan)


def asked_by(name: str, reason: str, request: Any) -> Asked:  # noqa: ANN401 - any message
    """What somebody wants by a message."""
    force, compromised = getattr(request, "force", False), getattr(request, "compromised", False)
    return Asked(by=name, reason=reason, force=force, compromised=compromised)


def wish_in(request: Any) -> Wish:  # noqa: ANN401 - any message about a rotation
    """What is wished of a rotation.

    Raises:
        BadRequest: reasons `root` and `window`.
    """
    if request.root:
        _check_root(request)
    return Wish(compromised=request.compromised, window=window_of(request), root=request.root)


def window_of(request: Any) -> timedelta | None:  # noqa: ANN401 - any message
    """The window that a request names; None when it names none, or cannot.

    Raises:
        BadRequest: reason `window`.
    """
    if "window" not in request.DESCRIPTOR.fields_by_name or not request.HasField("window"):
        return None
    try:
        window = span(request.window)
    except OverflowError:
        window = timedelta(-1)
    if not timedelta(0) <= window <= LONGEST_WINDOW:
        raise BadRequest("window", f"window must be 0s to {format_duration(LONGEST_WINDOW)}")
    if not getattr(request, "compromised", True):
        raise BadRequest(
            "window", "window is for a root whose key is stolen: say compromised as well, or no window"
        )
    return window


def _check_root(request: Any) -> None:  # noqa: ANN401 - any message that names a root
    """Refuse what is no root's id, or is named for nothing.

    Raises:
        BadRequest: reason `root`.
    """
    if not _ID.fullmatch(request.root):
        raise BadRequest("root", "root must be the id of a root: 64 characters of 0-9 a-f")
    if not getattr(request, "compromised", True):
        raise BadRequest("root", "root names the root whose key is stolen: say compromised as well, or no root")


def _stolen(lifecycle: Lifecycle, request: roots_pb2.RotateRootRequest) -> roots_pb2.RotateRootRequest:
    """With the root whose key is stolen, which may be another when it is approved."""
    if not request.compromised:
        return request
    settled = roots_pb2.RotateRootRequest()
    settled.CopyFrom(request)
    settled.root = aimed(lifecycle, wish_in(request)).old
    return settled


async def _prepare(commands: RootCommands, request: roots_pb2.PrepareRootRequest, asked: Asked) -> Record:
    return await commands.prepare(asked, same_key=request.same_key)


async def _activate(commands: RootCommands, request: roots_pb2.ActivateRootRequest, asked: Asked) -> None:
    await commands.activate(asked, request.root)


async def _taint(commands: RootCommands, request: roots_pb2.TaintRootRequest, asked: Asked) -> None:
    await commands.taint(asked, request.root, window_of(request))


async def _retire(commands: RootCommands, request: roots_pb2.RetireRootRequest, asked: Asked) -> None:
    await commands.retire(asked, request.root)


async def _rotate(commands: RootCommands, request: roots_pb2.RotateRootRequest, asked: Asked) -> Record:
    wish = wish_in(request)
    return await commands.rotate(asked, compromised=wish.compromised, window=wish.window, root=wish.root)


async def _pause(commands: RootCommands, _: roots_pb2.PauseRotationRequest, asked: Asked) -> None:
    await commands.pause(asked)


async def _resume(commands: RootCommands, _: roots_pb2.ResumeRotationRequest, asked: Asked) -> None:
    await commands.resume(asked)


async def _abort(commands: RootCommands, _: roots_pb2.AbortRotationRequest, asked: Asked) -> None:
    await commands.abort(asked)


async def _activation(commands: RootCommands, request: roots_pb2.ActivateRootRequest) -> Forecast:
    return await commands.foresee(Act.ACTIVATE, request.root, force=request.force)


async def _tainting(commands: RootCommands, request: roots_pb2.TaintRootRequest) -> Forecast:
    return await commands.foresee(Act.TAINT, request.root, window=window_of(request))


async def _retirement(commands: RootCommands, request: roots_pb2.RetireRootRequest) -> Forecast:
    return await commands.foresee(Act.RETIRE, request.root, force=request.force)


async def _rotation(commands: RootCommands, request: roots_pb2.RotateRootRequest) -> Forecast:
    wish = wish_in(request)
    return await commands.forecast(compromised=wish.compromised, window=wish.window, root=wish.root)


async def _pausing(commands: RootCommands, request: roots_pb2.PauseRotationRequest) -> Forecast:
    return await commands.foresee_course(Act.PAUSE, compromised=request.compromised)


async def _resumption(commands: RootCommands, request: roots_pb2.ResumeRotationRequest) -> Forecast:
    return await commands.foresee_course(Act.RESUME, compromised=request.compromised)


async def _giving_up(commands: RootCommands, request: roots_pb2.AbortRotationRequest) -> Forecast:
    return await commands.foresee_course(Act.ABORT, compromised=request.compromised)


ACTS: Final[Mapping[str, RootAct]] = MappingProxyType({
    "PrepareRoot": RootAct(roots_pb2.PrepareRootRequest, _prepare, "make a root and distribute it"),
    "ActivateRoot": RootAct(roots_pb2.ActivateRootRequest, _activate, "sign below root", foresee=_activation),
    "TaintRoot": RootAct(roots_pb2.TaintRootRequest, _taint, "replace every leaf below root", "taint", _tainting),
    "RetireRoot": RootAct(roots_pb2.RetireRootRequest, _retire, "trust no more root", "retire", _retirement),
    "RotateRoot": RootAct(
        roots_pb2.RotateRootRequest, _rotate, "rotate the root", "retire", _rotation, settle=_stolen
    ),
    "PauseRotation": RootAct(
        roots_pb2.PauseRotationRequest, _pause, "pause the rotation", foresee=_pausing, urgent=_KEPT, keeps=True
    ),
    "ResumeRotation": RootAct(
        roots_pb2.ResumeRotationRequest, _resume, "resume the rotation", foresee=_resumption, urgent=_STOLEN
    ),
    "AbortRotation": RootAct(
        roots_pb2.AbortRotationRequest, _abort, "abort the rotation", foresee=_giving_up, urgent=_KEPT, keeps=True
    ),
})  # fmt: skip

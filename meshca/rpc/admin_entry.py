"""The one way into the administrator's services: nobody's message reaches a handler before its sender may send it.

Every handler is wrapped when it is registered, and is handed the proven administrator. What is wrapped here must
never be registered without this.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from meshca.log import log
from meshca.rpc.roles import TABLE, Administrator, Sight, Wish
from meshca.wire.interceptors import current_call
from meshca.wire.open_calls import Context

Who = Callable[[Context], Administrator]


@dataclass(frozen=True, slots=True)
class Entered:
    """Somebody who may make this call.

    Attributes:
        person: who.
        sight: whose workloads it may be shown.
    """

    person: Administrator
    sight: Sight


class Permitted:
    """A service as generated code registers it, whose handlers take `Entered` where others take the context.

    Args:
        service: has a method for each RPC, named as the proto names it.
        name: the service's full name.
        who: proves who calls; raises `Unauthenticated` or `Denied` for nobody.
    """

    def __init__(self, service: object, name: str, who: Who) -> None:
        self._service = service
        self._name = name
        self._who = who

    def __getattr__(self, method: str) -> Callable[..., Any]:
        """The guarded handler of an RPC.

        Raises:
            LookupError: the RPC has no row in the table of roles; nobody shall serve it.
        """
        rpc = f"/{self._name}/{method}"
        if rpc not in TABLE:
            raise LookupError(f"{rpc} has no row in meshca.rpc.roles.TABLE")
        behaviour = getattr(self._service, method)
        return (
            self._stream(rpc, behaviour) if inspect.isasyncgenfunction(behaviour) else self._unary(rpc, behaviour)
        )

    def _unary(self, rpc: str, behaviour: Callable[..., Awaitable[Any]]) -> Callable[..., Any]:
        async def guarded(request: Any, context: Context) -> Any:  # noqa: ANN401 - any message
            return await behaviour(request, self._entered(rpc, request, context))

        return guarded

    def _stream(self, rpc: str, behaviour: Callable[..., AsyncIterator[Any]]) -> Callable[..., Any]:
        async def guarded(request: Any, context: Context) -> AsyncIterator[Any]:  # noqa: ANN401 - as above
            async for answer in behaviour(request, self._entered(rpc, request, context)):
                yield answer

        return guarded

    def _entered(self, rpc: str, request: Any, context: Context) -> Entered:  # noqa: ANN401 - as above
        person = self._who(context)
        entered = Entered(person, person.permitted(wish_of(rpc, request)))
        if TABLE[rpc].acts:
            log.info("admin.asked", method=rpc, by=person.name, request_id=current_call().id)
        return entered


def wish_of(rpc: str, request: Any) -> Wish:  # noqa: ANN401 - any message
    """What a message wants."""
    return Wish(
        rpc=rpc, force=getattr(request, "force", False), compromised=getattr(request, "compromised", False)
    )

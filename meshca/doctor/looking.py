"""What is looked at in a cluster, each thing once, and why something could not be seen.

A missing permission of the doctor's own becomes `Unseen` with the command that grants it: it is never a fault of
what was looked for.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol, TypeVar, cast

from meshca.doctor.finding import Unseen
from meshca.doctor.permission import Permission, grant
from meshca.errors import MeshcaError, NotFound, Unavailable
from meshca.kube.api import Forbidden, Tree

T = TypeVar("T")


class Server(Protocol):
    """An API server; `kube.api.Api` is one.

    Attributes:
        answered_at: the Date header of its last answer.
    """

    answered_at: str

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> Tree:
        """An object, or a list."""
        ...

    async def create(self, path: str, body: Tree) -> Tree:
        """A new object."""
        ...


class Looking:
    """Remembers what was seen, and what could not be.

    Args:
        server: whom to ask.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        self.subject = "--user=<user of the server>"
        self._seen: dict[str, Any] = {}

    async def once(self, key: str, find: Callable[[], Awaitable[T]]) -> T:
        """What `find` gives or raises, asked at the first time only."""
        if key not in self._seen:
            try:
                self._seen[key] = await find()
            except (MeshcaError, Unseen) as error:
                self._seen[key] = error
        found = self._seen[key]
        if isinstance(found, MeshcaError | Unseen):
            raise found
        return cast("T", found)

    async def read(self, permission: Permission, query: Mapping[str, str] | None = None) -> Tree | None:
        """The object, or the list, that this permission lets one read; None when it does not exist.

        Raises:
            Unseen: we may not read it, or the API server does not answer.
        """

        async def asked() -> Tree | None:
            try:
                return await self.server.get(path_of(permission), query)
            except NotFound:
                return None
            except Forbidden:
                raise Unseen(f"not allowed to {permission}", *self.grants(permission)) from None
            except Unavailable as error:
                raise Unseen(error.detail, "see what `api-server` says") from None

        return await self.once(f"{path_of(permission)}?{query}", asked)

    def grants(self, permission: Permission) -> tuple[str, ...]:
        """How the doctor gets a permission of its own."""
        return (f"chart value {permission.value}, or: {grant(permission, self.subject)}",)


def path_of(permission: Permission) -> str:
    """The path of an object or a collection."""
    root = f"/apis/{permission.group}/v1" if permission.group else "/api/v1"
    place = f"/namespaces/{permission.namespace}" if permission.namespace else ""
    name = f"/{permission.name}" if permission.name and permission.verb == "get" else ""
    return f"{root}{place}/{permission.resource}{name}"

"""Which administrator may call what: one literal table, and the one function that reads it.

Pure. Whoever has no role may do nothing, and an RPC that is not in the table can be called by nobody. A role that
is limited to namespaces sees their workloads only and acts on no root, because every namespace shares the roots.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, NoReturn

from meshca.config.admin import AdminConfig
from meshca.errors import BadRequest, Denied
from meshca.identity.spiffe_id import SpiffeId


class Role(enum.StrEnum):
    """What somebody is."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    SECURITY_OFFICER = "security_officer"


@dataclass(frozen=True, slots=True)
class Row:
    """Who may call an RPC, and whether it acts on roots."""

    roles: frozenset[Role]
    acts: bool


OFFICERS: Final = frozenset({Role.SECURITY_OFFICER})
READ: Final = Row(frozenset(Role), acts=False)
OPERATE: Final = Row(OFFICERS | {Role.OPERATOR}, acts=True)
SECURE: Final = Row(OFFICERS, acts=True)

TABLE: Final[Mapping[str, Row]] = MappingProxyType({
    "/meshca.admin.v1.Admin/GetStatus": READ,
    "/meshca.admin.v1.Admin/ListIssuances": READ,
    "/meshca.admin.v1.Admin/GetIssuance": READ,
    "/meshca.admin.v1.Roots/GetRootStatus": READ,
    "/meshca.admin.v1.Roots/ListRoots": READ,
    "/meshca.admin.v1.Roots/ListChanges": READ,
    "/meshca.admin.v1.Roots/ExportBundle": READ,
    "/meshca.admin.v1.Roots/ForecastRotation": READ,
    "/meshca.admin.v1.Roots/ForecastAct": READ,
    "/meshca.admin.v1.Roots/WatchRotation": READ,
    "/meshca.admin.v1.Roots/ListRequests": READ,
    "/meshca.admin.v1.Roots/PrepareRoot": OPERATE,
    "/meshca.admin.v1.Roots/ActivateRoot": OPERATE,
    "/meshca.admin.v1.Roots/RetireRoot": OPERATE,
    "/meshca.admin.v1.Roots/RotateRoot": OPERATE,
    "/meshca.admin.v1.Roots/PauseRotation": OPERATE,
    "/meshca.admin.v1.Roots/ResumeRotation": OPERATE,
    "/meshca.admin.v1.Roots/AbortRotation": OPERATE,
    "/meshca.admin.v1.Roots/WithdrawRequest": OPERATE,
    "/meshca.admin.v1.Roots/DenyRequest": SECURE,
    "/meshca.admin.v1.Roots/TaintRoot": SECURE,
    "/meshca.admin.v1.Roots/Approve": SECURE,
})  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What somebody wants to call.

    Attributes:
        rpc: full name, `/package.Service/Method`.
        force: although a gate is closed.
        compromised: because a key is not ours alone.
    """

    rpc: str
    force: bool = False
    compromised: bool = False


@dataclass(frozen=True, slots=True)
class Held:
    """A role that somebody has; `namespaces` is None for all."""

    role: Role
    namespaces: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Sight:
    """Whose workloads may be shown; `namespaces` is None for all."""

    namespaces: frozenset[str] | None

    def shows(self, namespace: str) -> bool:
        """Whether workloads of a namespace may be shown."""
        return self.namespaces is None or namespace in self.namespaces

    def shows_identity(self, spiffe_id: str) -> bool:
        """Whether a workload may be shown; one that is spelled in no way of ours only to who sees all."""
        if self.namespaces is None:
            return True
        try:
            return SpiffeId.parse(spiffe_id).service_account().namespace in self.namespaces
        except BadRequest:
            return False


@dataclass(frozen=True, slots=True)
class Administrator:
    """A proven person or program, and every role that it has.

    Attributes:
        name: its SPIFFE ID, or `uid 0`; two that are the same are the same person.
        held: its roles; empty for a stranger.
    """

    name: str
    held: tuple[Held, ...]

    def permitted(self, wish: Wish) -> Sight:
        """What it may be shown of what it wants to call.

        Raises:
            Denied: reason `no_role`, the same for every RPC, for a stranger; reason `role` when none of its roles
                is enough, which are named.
        """
        if not self.held:
            deny_stranger(self.name)
        row = TABLE.get(wish.rpc)
        allowed = frozenset[Role]() if row is None else row.roles
        if row is not None and row.acts and (wish.force or wish.compromised):
            allowed = OFFICERS
        enough = [one for one in self.held if one.role in allowed]
        if row is not None and row.acts:
            enough = [one for one in enough if one.namespaces is None]
        if not enough:
            raise Denied("role", self._lacks(wish, allowed))
        scopes = [one.namespaces for one in enough]
        if None in scopes:
            return Sight(None)
        return Sight(frozenset(name for scope in scopes if scope is not None for name in scope))

    def _lacks(self, wish: Wish, allowed: frozenset[Role]) -> str:
        has = ", ".join(f"{one.role}{' of some namespaces' if one.namespaces else ''}" for one in self.held)
        needs = " or ".join(sorted(allowed)) or "a role that does not exist"
        how = " with force" if wish.force else " as compromised" if wish.compromised else ""
        method = wish.rpc.rpartition("/")[2]
        return f"{self.name} is {has}; {method}{how} needs {needs} without namespaces: see admin.roles"


def deny_stranger(name: str) -> NoReturn:
    """Refuse somebody without a role, in the one way that tells strangers nothing.

    Raises:
        Denied: reason `no_role`.
    """
    raise Denied("no_role", f"{name} has no role; list it in admin.roles")


class People:
    """Everybody who has a role.

    Args:
        config: who.
        own_uid: of the server, who may do everything when the configuration lists no `admin.uids`.
    """

    def __init__(self, config: AdminConfig, own_uid: int) -> None:
        held: dict[str, tuple[Held, ...]] = {}

        def add(name: str, one: Held) -> None:
            held[name] = (*held.get(name, ()), one)

        for uid in config.uids or (own_uid,):
            add(uid_name(uid), Held(Role.SECURITY_OFFICER))
        for entry in config.roles:
            scope = None if entry.namespaces is None else frozenset(entry.namespaces)
            for name in (*map(uid_name, entry.uids), *entry.spiffe_ids):
                add(name, Held(Role(entry.role), scope))
        self._held = held
        self.uids = frozenset(config.uids or (own_uid,)).union(*(entry.uids for entry in config.roles))

    def named(self, name: str) -> Administrator:
        """Whoever has this proven name: a SPIFFE ID or `uid_name`; without any role when it is not known."""
        return Administrator(name, self._held.get(name, ()))


def uid_name(uid: int) -> str:
    """What a Unix user is called."""
    return f"uid {uid}"

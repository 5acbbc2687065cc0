"""Who may administer the server, and which acts need two people. Whoever is not named here may do nothing."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from meshca.config.model import Model, PositiveDuration
from meshca.errors import BadRequest
from meshca.identity.spiffe_id import SpiffeId

RoleName = Literal["viewer", "operator", "security_officer"]
Danger = Literal["force", "compromised", "retire", "taint"]
OFFICER: RoleName = "security_officer"


def _workload(value: str) -> str:
    try:
        SpiffeId.parse(value).service_account()
    except BadRequest as error:
        raise ValueError(f"expected spiffe://<trust domain>/ns/<namespace>/sa/<account>; {error.detail}") from None
    return value


Uid = Annotated[int, Field(ge=0, le=2**32 - 2)]
WorkloadId = Annotated[str, AfterValidator(_workload)]


class AdminRole(Model):
    """A role, and who has it.

    Attributes:
        role: `viewer` reads, `operator` takes steps whose gates are open, `security_officer` does everything.
        uids: Unix users who have it on the administrator's socket.
        spiffe_ids: identities that have it on the mTLS port.
        namespaces: whose workloads it sees; all when absent. A role with namespaces acts on no root.
    """

    role: RoleName
    uids: Annotated[tuple[Uid, ...], Field(strict=False)] = ()
    spiffe_ids: Annotated[tuple[WorkloadId, ...], Field(strict=False)] = ()
    namespaces: Annotated[tuple[str, ...], Field(strict=False)] | None = None

    @model_validator(mode="after")
    def _means_something(self) -> Self:
        if not self.uids and not self.spiffe_ids:
            raise ValueError("names nobody; list uids or spiffe_ids, or remove it")
        if self.namespaces is not None and not self.namespaces:
            raise ValueError("namespaces: an empty list shows nothing; leave it out to show all")
        if self.namespaces is not None and self.role == OFFICER:
            raise ValueError(
                "namespaces: a security_officer acts on roots, which all namespaces share; leave it out"
            )
        return self


class AdminConfig(Model):
    """Administrators.

    Attributes:
        uids: Unix users who may do everything on the administrator's socket; the server's own user when absent.
        roles: who else may do what.
        second_person: acts that wait until another administrator approves them.
        request_lifetime: for how long they wait.
    """

    uids: Annotated[tuple[Uid, ...], Field(strict=False)] = ()
    roles: Annotated[tuple[AdminRole, ...], Field(strict=False)] = ()
    second_person: Annotated[tuple[Danger, ...], Field(strict=False)] = ()
    request_lifetime: PositiveDuration = timedelta(minutes=15)

    @model_validator(mode="after")
    def _two_can_approve(self) -> Self:
        """One person alone could never be approved by another."""
        if self.second_person and self._officers() < 2:
            raise ValueError(
                "second_person needs two security officers; list another in uids or roles, or leave it out"
            )
        return self

    def _officers(self) -> int:
        named = {("uid", str(uid)) for uid in self.uids} or {("uid", "own")}
        for one in self.roles:
            if one.role == OFFICER:
                named |= {("uid", str(uid)) for uid in one.uids} | {("id", name) for name in one.spiffe_ids}
        return len(named)

    @property
    def spiffe_ids(self) -> tuple[str, ...]:
        """Every identity that has a role."""
        return tuple(name for one in self.roles for name in one.spiffe_ids)

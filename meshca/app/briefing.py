"""What a fresh worker is told before it can start: read from the control channel, complete or not at all."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from meshca.app.control import Configure, Message, UseAdmission, UseAuthority, UseOrder, UsePolicies
from meshca.config.server import ServerConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Briefing:
    """Everything that a worker starts from.

    Attributes:
        config: the server's configuration.
        name: of the worker.
        prefix: of its serials.
        token_address: numeric host:port for callers with a token.
        mtls_address: numeric host:port for callers with a certificate.
        authority: what to sign with.
        admission: the rules in force.
        policies: the authorization policies in force.
        order: which leaves are to be replaced; nothing is ordered when the parent does not say.
    """

    config: ServerConfig
    name: str
    prefix: int
    token_address: str
    mtls_address: str
    authority: UseAuthority = field(repr=False)
    admission: UseAdmission
    policies: UsePolicies
    order: UseOrder


async def read_briefing(messages: AsyncIterator[Message]) -> Briefing | None:
    """The first messages of a parent, in any order; the last of a kind counts.

    An order is optional: one that comes later is news like any other.

    Returns:
        None when the parent is gone before it had said everything.
    """
    told: dict[type[Message], Message] = {}
    async for message in messages:
        told[type(message)] = message
        order = told.get(UseOrder, UseOrder())
        match (told.get(Configure), told.get(UseAuthority), told.get(UseAdmission), told.get(UsePolicies)):
            case (
                Configure() as configure,
                UseAuthority() as authority,
                UseAdmission() as admission,
                UsePolicies() as policies,
            ) if isinstance(order, UseOrder):
                return Briefing(
                    config=ServerConfig.model_validate_json(configure.config),
                    name=configure.name,
                    prefix=configure.prefix,
                    token_address=configure.token_address,
                    mtls_address=configure.mtls_address,
                    authority=authority,
                    admission=admission,
                    policies=policies,
                    order=order,
                )
    return None

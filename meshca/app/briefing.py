"""What a fresh worker is told before it can start: read from the control channel, complete or not at all."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from meshca.app.control import Configure, Message, UseAdmission, UseAuthority, UsePolicies
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
    """

    config: ServerConfig
    name: str
    prefix: int
    token_address: str
    mtls_address: str
    authority: UseAuthority = field(repr=False)
    admission: UseAdmission
    policies: UsePolicies


async def read_briefing(messages: AsyncIterator[Message]) -> Briefing | None:
    """The first messages of a parent, in any order; the last of a kind counts.

    Returns:
        None when the parent is gone before it had said everything.
    """
    told: dict[type[Message], Message] = {}
    async for message in messages:
        told[type(message)] = message
        match (told.get(Configure), told.get(UseAuthority), told.get(UseAdmission), told.get(UsePolicies)):
            case (
                Configure() as configure,
                UseAuthority() as authority,
                UseAdmission() as admission,
                UsePolicies() as policies,
            ):
                return Briefing(
                    config=ServerConfig.model_validate_json(configure.config),
                    name=configure.name,
                    prefix=configure.prefix,
                    token_address=configure.token_address,
                    mtls_address=configure.mtls_address,
                    authority=authority,
                    admission=admission,
                    policies=policies,
                )
    return None

"""Configuration of leaves that Vault signs in our place. The role becomes part of a path, so it must be a name."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

from meshca.config.model import Model

_ROLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")


def _role(value: str) -> str:
    if not _ROLE.fullmatch(value):
        raise ValueError("expected the name of a role as `vault list <mount>/roles` shows it")
    return value


RoleName = Annotated[str, AfterValidator(_role)]


class VaultLeaves(Model):
    """Vault signs every leaf: no certificate of a workload while it is away.

    Attributes:
        role: of the mount, as `meshca vault policy` prints it.
    """

    role: RoleName

"""Wires `meshca vault`: the configured Vault, and the checks and facts that are asked about it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Final

from meshca.clock import SystemClock
from meshca.config.loader import load_config
from meshca.config.server import ServerConfig
from meshca.config.vault import VaultConfig
from meshca.doctor import vault_conformance
from meshca.doctor.certificates import Certificates
from meshca.doctor.examine import examine
from meshca.doctor.finding import Finding
from meshca.doctor.vault_checks import checks
from meshca.doctor.vault_place import VaultPlace, Visit
from meshca.errors import ConfigError
from meshca.upstream.kept_folder import KeptFolder
from meshca.upstream.vault.environment import completed
from meshca.upstream.vault.logins import login_by
from meshca.upstream.vault.opening import FOLDER, reach
from meshca.upstream.vault.policy import Least, least

MOMENT: Final = 5.0  # seconds for what is no call
KIND = "upstream.kind is not vault: this command asks the Vault that signs for us"


def least_policy(path: Path | None, environ: Mapping[str, str] = os.environ) -> Least:
    """The least policy and the commands that give it to our login; nobody is asked.

    Raises:
        ConfigError: the configuration is not valid, or has no Vault.
    """
    server = load_config(path, environ)
    return least(completed(_vault(server, path), environ)[0], server.trust_domain)


async def check(
    path: Path | None, seconds: float, *, sign: bool, environ: Mapping[str, str] = os.environ
) -> AsyncIterator[Finding]:
    """What each check finds, as it finds it.

    Args:
        path: of the server's configuration.
        seconds: longest time of each check; never less than `patient` says.
        sign: whether a throw-away intermediate is signed too, and with `sign_leaves` a leaf.
        environ: where settings may be as well.

    Raises:
        ConfigError: the configuration is not valid, or has no Vault.
    """
    async with _place(load_config(path, environ), path, environ) as place:
        async for finding in examine(checks(place.config, sign=sign), place, patient(place.config, seconds)):
            yield finding


async def conformance(
    path: Path | None, seconds: float, environ: Mapping[str, str] = os.environ
) -> AsyncIterator[Finding]:
    """What each fact is at this server, as it is seen; arguments and errors as `check`."""
    async with _place(load_config(path, environ), path, environ) as place:
        trial = vault_conformance.Trial(place)
        async for finding in examine(vault_conformance.FACTS, trial, patient(place.config, seconds)):
            yield finding


def patient(config: VaultConfig, seconds: float) -> float:
    """Seconds for one check: more than two calls take, so that a server that hangs is a finding and no riddle."""
    return max(seconds, 2 * config.timeout.total_seconds() + MOMENT)


@contextlib.asynccontextmanager
async def _place(server: ServerConfig, path: Path | None, environ: Mapping[str, str]) -> AsyncIterator[VaultPlace]:
    clock = SystemClock()
    async with reach(_vault(server, path), environ=environ, clock=clock) as way:
        yield VaultPlace(
            config=way.config,
            notes=way.notes,
            client=way.client,
            visit=Visit(way.config, way.client, login_by(way.config.login)),
            trust_domain=server.trust_domain,
            clock=clock,
            known=known(server.data_dir),
            leaf_lifetime=server.svid.max_lifetime,
        )


def known(data_dir: Path) -> Certificates:
    """The roots that counted last, for `accept: first_use`; none where we may not look."""
    try:
        return tuple(KeptFolder(data_dir, FOLDER).named([]))
    except OSError:
        return ()


def _vault(server: ServerConfig, path: Path | None) -> VaultConfig:
    if not isinstance(server.upstream, VaultConfig):
        raise ConfigError(str(path or "configuration"), [KIND])
    return server.upstream

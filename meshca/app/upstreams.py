"""The literal table of upstreams: kind, how to open it, and how to check its configuration without a change."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Final

from meshca.authority.upstream import Upstream
from meshca.clock import Clock
from meshca.config.server import ServerConfig
from meshca.config.upstream import FilesConfig, SelfSignedConfig
from meshca.durable import is_folder
from meshca.keystore.file import FileKeyStore
from meshca.upstream import files, self_signed

KEYS: Final = "keys"  # folder of the signing keys in the data directory


@dataclass(frozen=True, slots=True)
class _Plugin:
    """How to open one kind."""

    open: Callable[[Any, ServerConfig, Clock], AbstractAsyncContextManager[Upstream]]


def _self_signed(
    config: SelfSignedConfig, server: ServerConfig, clock: Clock
) -> AbstractAsyncContextManager[Upstream]:
    return self_signed.open_(
        config,
        data_dir=server.data_dir,
        keys=FileKeyStore(server.data_dir / KEYS),
        trust_domain=server.trust_domain,
        clock=clock,
    )


def _files(config: FilesConfig, server: ServerConfig, clock: Clock) -> AbstractAsyncContextManager[Upstream]:
    return files.open_(config, trust_domain=server.trust_domain, clock=clock)


UPSTREAMS: Final[Mapping[type, _Plugin]] = {
    SelfSignedConfig: _Plugin(_self_signed),
    FilesConfig: _Plugin(_files),
}


def open_upstream(server: ServerConfig, clock: Clock) -> AbstractAsyncContextManager[Upstream]:
    """The upstream that the configuration names.

    Raises:
        ConfigError: what it needs is missing or wrong.
        Unavailable: it cannot be used now.
    """
    return UPSTREAMS[type(server.upstream)].open(server.upstream, server, clock)


async def check_upstream(server: ServerConfig, clock: Clock) -> None:
    """Find what would stop `open_upstream`, without making or changing anything.

    A self-signed CA is looked at once it exists, as far as we may see; the first start makes it.

    Raises:
        ConfigError: with every problem found.
    """
    if isinstance(server.upstream, SelfSignedConfig):
        if is_folder(server.data_dir / "ca") or is_folder(server.data_dir / KEYS):
            keys = FileKeyStore(server.data_dir / KEYS)
            td = server.trust_domain
            self_signed.check(server.upstream, data_dir=server.data_dir, keys=keys, trust_domain=td, clock=clock)
        return
    async with open_upstream(server, clock):
        pass

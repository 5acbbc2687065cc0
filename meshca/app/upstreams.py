"""The literal table of upstreams: kind, how to open it, and how to check its configuration without a change."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from meshca.authority.upstream import Upstream
from meshca.background import running
from meshca.clock import Clock
from meshca.config.server import ServerConfig
from meshca.config.upstream import FilesConfig, SecretConfig, SelfSignedConfig
from meshca.config.vault import VaultConfig
from meshca.durable import is_folder
from meshca.keystore.file import FileKeyStore
from meshca.keystore.pkcs11 import Pkcs11KeyStore, open_key
from meshca.keystore.token_uri import Token
from meshca.upstream import files, secret, self_signed
from meshca.upstream.ca_folder import CaFolder
from meshca.upstream.kept_folder import KeptFolder
from meshca.upstream.succession import Succession

if TYPE_CHECKING:
    from meshca.kube.published_roots import PublishedRoots
    from meshca.kube.secrets import KubeSecrets
    from meshca.upstream.vault.opening import Outside
    from meshca.upstream.vault.trust import MeshRoots

KEYS: Final = "keys"  # folder of the signing keys in the data directory


@dataclass(frozen=True, slots=True)
class _Plugin:
    """How to open one kind."""

    open: Callable[[Any, ServerConfig, Clock, MeshRoots], AbstractAsyncContextManager[Upstream]]


def _self_signed(
    config: SelfSignedConfig, server: ServerConfig, clock: Clock, _: MeshRoots
) -> AbstractAsyncContextManager[Upstream]:
    return self_signed.open_(
        config,
        data_dir=server.data_dir,
        keys=FileKeyStore(server.data_dir / KEYS),
        trust_domain=server.trust_domain,
        clock=clock,
    )


def _files(
    config: FilesConfig, server: ServerConfig, clock: Clock, _: MeshRoots
) -> AbstractAsyncContextManager[Upstream]:
    return files.open_(config, data_dir=server.data_dir, trust_domain=server.trust_domain, clock=clock)


@contextlib.asynccontextmanager
async def _secret(
    config: SecretConfig, server: ServerConfig, clock: Clock, _: MeshRoots
) -> AsyncIterator[Upstream]:
    async with _secrets(config, server, clock) as (source, published), running("ca secrets", source.run, clock):
        opened = secret.open_(
            config, source=source, published=published, trust_domain=server.trust_domain, clock=clock
        )
        async with opened as upstream:
            yield upstream


@contextlib.asynccontextmanager
async def _secrets(
    config: SecretConfig, server: ServerConfig, clock: Clock
) -> AsyncIterator[tuple[KubeSecrets, PublishedRoots | None]]:
    """The Secrets, and the roots that workloads have got, if they are published."""
    from meshca.kube.connection import connect, own_namespace  # half a second that others need not wait
    from meshca.kube.published_roots import PublishedRoots
    from meshca.kube.secrets import KubeSecrets

    cluster = server.kubernetes
    assert cluster is not None  # noqa: S101 - the model refuses this kind without it
    async with connect(cluster) as api:
        source = KubeSecrets(api, config.namespace or own_namespace(cluster), secret.secret_names(config), clock)
        maps = cluster.root_config_map
        yield source, PublishedRoots(api, maps, own_namespace(cluster)) if maps.enabled else None


@contextlib.asynccontextmanager
async def _vault(
    config: VaultConfig, server: ServerConfig, clock: Clock, mesh_roots: MeshRoots
) -> AsyncIterator[Upstream]:
    from meshca.upstream.vault import opening  # hvac, which others need not wait for

    async with _outside(config, server, clock, mesh_roots) as outside:
        opened = opening.open_(
            config,
            data_dir=server.data_dir,
            environ=os.environ,
            trust_domain=server.trust_domain,
            clock=clock,
            outside=outside,
        )
        async with opened as upstream:
            before = _before(server, clock)
            yield Succession(upstream, before) if before else upstream


@contextlib.asynccontextmanager
async def _outside(
    config: VaultConfig, server: ServerConfig, clock: Clock, mesh_roots: MeshRoots
) -> AsyncIterator[Outside]:
    """What the mesh has, and what the custody of Vault's intermediates needs."""
    from meshca.upstream.vault.opening import Outside  # as above

    replica = server.replica or socket.gethostname()
    if (token := config.custody_token) is not None:
        place = Token(module=token.module, label=token.token, pin_file=token.pin_file)
        yield Outside(
            mesh_roots=mesh_roots,
            keys=Pkcs11KeyStore(place, token.key_label or f"meshca-{replica}"),
            open_key=open_key,
        )
        return
    if config.custody != "secret":
        yield Outside(mesh_roots=mesh_roots)
        return
    from meshca.kube.connection import connect, own_namespace  # as above
    from meshca.kube.secrets import KubeSecrets

    cluster = server.kubernetes
    assert cluster is not None  # noqa: S101 - the model refuses this custody without it
    name = config.custody_secret or f"meshca-vault-{replica.lower()}"
    async with connect(cluster) as api:
        yield Outside(mesh_roots=mesh_roots, secret=KubeSecrets(api, own_namespace(cluster), (name,), clock))


def _before(server: ServerConfig, clock: Clock) -> Sequence[Upstream]:
    """What the data directory has of another upstream, which the configuration named before."""
    found = list[Upstream]()
    data_dir, kept = server.data_dir, KeptFolder(server.data_dir)
    if is_folder(data_dir / "ca"):
        config, keys = SelfSignedConfig(kind="self_signed"), FileKeyStore(data_dir / KEYS)
        found.append(self_signed.SelfSigned(config, CaFolder(data_dir), keys, server.trust_domain, clock))
    if is_folder(kept.path):  # nothing is plugged in there: what it kept is all that there is
        found.append(files.Files(kept.path, kept, server.trust_domain, clock))
    return found


UPSTREAMS: Final[Mapping[type, _Plugin]] = {
    SelfSignedConfig: _Plugin(_self_signed),
    FilesConfig: _Plugin(_files),
    SecretConfig: _Plugin(_secret),
    VaultConfig: _Plugin(_vault),
}


def open_upstream(
    server: ServerConfig, clock: Clock, mesh_roots: MeshRoots
) -> AbstractAsyncContextManager[Upstream]:
    """The upstream that the configuration names.

    Args:
        server: the configuration.
        clock: for lives.
        mesh_roots: what the mesh trusts already, whoever signs for it.

    Raises:
        ConfigError: what it needs is missing or wrong.
        Unavailable: it cannot be used now.
    """
    return UPSTREAMS[type(server.upstream)].open(server.upstream, server, clock, mesh_roots)


async def check_upstream(server: ServerConfig, clock: Clock) -> None:
    """Find what would stop `open_upstream`, without making or changing anything.

    A self-signed CA is looked at once it exists, as far as we may see; the first start makes it.

    Raises:
        ConfigError: with every problem found.
        Unavailable: whether there is one cannot be found out now.
    """
    upstream, data_dir, trust_domain = server.upstream, server.data_dir, server.trust_domain
    if isinstance(upstream, FilesConfig):
        files.check(upstream, data_dir=data_dir, trust_domain=trust_domain, clock=clock)
    elif isinstance(upstream, SecretConfig):
        async with _secrets(upstream, server, clock) as (source, published):
            await secret.check(
                upstream, source=source, published=published, trust_domain=trust_domain, clock=clock
            )
    elif isinstance(upstream, VaultConfig):
        from meshca.upstream.vault import opening  # as above

        await opening.check(upstream, environ=os.environ, clock=clock)
    elif is_folder(data_dir / "ca") or is_folder(data_dir / KEYS):
        keys = FileKeyStore(data_dir / KEYS)
        self_signed.check(upstream, data_dir=data_dir, keys=keys, trust_domain=trust_domain, clock=clock)

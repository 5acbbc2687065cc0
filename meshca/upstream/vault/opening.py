"""Puts the parts together: a connection, a session that keeps its token, and the upstream over them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from meshca import durable
from meshca.authority.material import OpenKey
from meshca.authority.secret_source import SecretSource
from meshca.background import running
from meshca.backoff import JITTER
from meshca.clock import Clock
from meshca.config.vault import VaultCertLogin, VaultConfig
from meshca.identity.spiffe_id import TrustDomain
from meshca.log import log
from meshca.upstream.kept_folder import KeptFolder
from meshca.upstream.kept_memory import KeptMemory
from meshca.upstream.kept_secret import KeptSecret
from meshca.upstream.seal import Seal
from meshca.upstream.vault.client import Client, Lanes, Place, connect
from meshca.upstream.vault.custody import AtOnce, Custody, InToken, TokenKeys
from meshca.upstream.vault.environment import completed
from meshca.upstream.vault.leaf_brake import LeafBrake
from meshca.upstream.vault.leaves import AT_ONCE, WAITING, Leaves
from meshca.upstream.vault.logins import check_pair, login_by
from meshca.upstream.vault.lookout import Lookout
from meshca.upstream.vault.mount import look
from meshca.upstream.vault.session import Session
from meshca.upstream.vault.sight import judged
from meshca.upstream.vault.signing import Signing
from meshca.upstream.vault.trust import MeshRoots, no_mesh
from meshca.upstream.vault.upstream import VaultUpstream
from meshca.upstream.vault.wire import Wire

FOLDER = "vault"  # of the data directory


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """A way to Vault.

    Attributes:
        config: with what the environment adds.
        client: asks as nobody.
        session: asks as us.
        notes: what is to be said about the environment.
    """

    config: VaultConfig
    client: Client
    session: Session
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """What is not ours to reach; `app` gives it.

    Attributes:
        mesh_roots: what the mesh trusts already.
        secret: of this replica, for the custody `secret`.
        keys: of the token, for the custody `pkcs11`.
        open_key: follows what leads to one of them.
    """

    mesh_roots: MeshRoots = no_mesh
    secret: SecretSource | None = None
    keys: TokenKeys | None = None
    open_key: OpenKey | None = None


NOTHING: Final = Outside()


@contextlib.asynccontextmanager
async def reach(config: VaultConfig, *, environ: Mapping[str, str], clock: Clock) -> AsyncIterator[Reached]:
    """A way to Vault; nothing is asked yet.

    Raises:
        ConfigError: there is no address, or a file that the connection needs cannot be read.
    """
    whole, notes = completed(config, environ)
    async with connect(_place(whole)) as client:
        session = Session(client, login_by(whole.login), clock)
        yield Reached(config=whole, client=client, session=session, notes=tuple(notes))


@contextlib.asynccontextmanager
async def open_(  # noqa: PLR0913 - its surroundings, by name
    config: VaultConfig,
    *,
    data_dir: Path,
    environ: Mapping[str, str],
    trust_domain: TrustDomain,
    clock: Clock,
    outside: Outside = NOTHING,
) -> AsyncIterator[VaultUpstream]:
    """The upstream, with a token that is kept fresh beside it; Vault need not be there yet.

    Args:
        config: of it.
        data_dir: for the custody `file`.
        environ: of the process.
        trust_domain: that is signed for.
        clock: for lives.
        outside: what the mesh trusts already, and what the custodies `secret` and `pkcs11` need.

    Raises:
        ConfigError: there is no address, or a file that the connection or the custody needs cannot be used.
        Unavailable: reason `ca_folder`.
    """
    async with reach(config, environ=environ, clock=clock) as way, running("vault token", way.session.run, clock):
        for note in way.notes:
            log.warning("vault.environment", detail=note)
        custody = _custody(way.config, data_dir, outside)
        upstream = VaultUpstream(
            way.config,
            lookout=Lookout(
                way.config, client=way.client, custody=custody, mesh_roots=outside.mesh_roots, clock=clock
            ),
            signing=Signing(way.config, way.session, trust_domain, clock, outside.keys),
            custody=custody,
            trust_domain=trust_domain,
            clock=clock,
        )
        async with _lanes(way.config) as lanes:
            if way.config.sign_leaves is not None:
                upstream.leaves = Leaves(
                    way.config,
                    way.config.sign_leaves,
                    session=way.session,
                    lanes=lanes,
                    issuer=upstream.issuer,
                    clock=clock,
                    brake=LeafBrake(clock, JITTER),
                )
            yield upstream


async def check(config: VaultConfig, *, environ: Mapping[str, str], clock: Clock) -> None:
    """Find what would stop `open_`, and whether Vault's issuer can be seen; nobody logs in and nothing is signed.

    Raises:
        ConfigError: as `open_`, or the file of roots cannot be used.
        Unavailable: Vault cannot be had, or the issuer's root does not count.
    """
    async with reach(config, environ=environ, clock=clock) as way:
        found = await look(way.client, way.config.mount, way.config.issuer)
        seen = judged(way.config.roots, found, known=(), now=clock.now())
        if seen.problem is not None:
            raise seen.problem


@contextlib.asynccontextmanager
async def _lanes(config: VaultConfig) -> AsyncIterator[Lanes]:
    """Connections for leaves, if Vault signs them."""
    async with contextlib.AsyncExitStack() as stack:
        count = AT_ONCE if config.sign_leaves is not None else 0
        clients = [await stack.enter_async_context(connect(_place(config))) for _ in range(count)]
        yield Lanes(clients, WAITING)


def _custody(config: VaultConfig, data_dir: Path, outside: Outside) -> Custody:
    """Where intermediates are kept, without what a process that was killed has left half written.

    Raises:
        ConfigError: the file of the seal cannot be used.
        Unavailable: reason `ca_folder`.
    """
    if config.custody == "memory":
        return AtOnce(KeptMemory())
    if outside.secret is not None:
        seal = None if config.custody_seal_file is None else Seal(config.custody_seal_file)
        return KeptSecret(outside.secret, seal)
    folder = KeptFolder(data_dir, FOLDER, outside.open_key)
    folder.sweep()
    kept = AtOnce(folder)
    return kept if outside.keys is None else InToken(kept, outside.keys)


def _place(config: VaultConfig) -> Place:
    """Where and how, with the files that it needs looked at.

    Raises:
        ConfigError: one cannot be used.
    """
    method = config.login.method
    if config.ca_file is not None:
        durable.read(config.ca_file)
    pair = None
    if isinstance(method, VaultCertLogin):
        check_pair(method)
        pair = str(method.certificate_file), str(method.key_file)
    return Place(
        address=config.address or "",
        namespace=config.namespace or "",
        wire=Wire(
            verify=True if config.ca_file is None else str(config.ca_file),
            fingerprint=config.certificate_sha256 or "",
            certificate=pair,
            timeout=config.timeout,
            redirect_hosts=config.redirect_hosts,
        ),
    )

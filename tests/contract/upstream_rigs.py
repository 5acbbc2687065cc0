"""Every upstream as the contract meets it: a place, how to start over it, and what an operator does there."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from meshca.app.openbao_process import OpenBao
from meshca.authority.material import certificate_id
from meshca.authority.upstream import Upstream
from meshca.config.upstream import FilesConfig, SecretConfig, SelfSignedConfig
from meshca.config.vault import VaultConfig
from meshca.keystore.file import FileKeyStore
from meshca.upstream import files, secret, self_signed
from meshca.upstream.succession import Succession
from meshca.upstream.vault import opening
from meshca.upstream.vault.faults import Fault, failure
from tests.fakes import vault_rig
from tests.fakes.cacerts import cacerts, write
from tests.fakes.clock import FakeClock
from tests.fakes.pki import DAY, NOW, TRUST_DOMAIN, make_ca, material_of
from tests.fakes.secret_source import FakeSecrets, FakeSource
from tests.fakes.upstream import FakeUpstream
from tests.fakes.vault import SIGN
from tests.real.openbao import Mount, add_root, make_default, new_mount, vault_config

Opened = contextlib.AbstractAsyncContextManager[Upstream]
ROOT, OTHER = make_ca("root"), make_ca("other root", begin=NOW - DAY / 2)
SIGNER, OTHERS = (make_ca("signer", root, end=NOW + 30 * DAY) for root in (ROOT, OTHER))
MOVED = cacerts(OTHERS, roots=(OTHER,))  # what an operator plugs in instead


@dataclass(frozen=True, slots=True)
class Rig:
    """A place, and how to open an upstream over it.

    Attributes:
        open: each time as a start after a restart would.
        clock: of all that is opened.
        plug_in: what an operator does to have another root, whose id is given; None where roots are made here.
        restarts_same: whether a restart offers the same signing certificate.
        break_renewals: lets nothing be signed by whoever signs for us; None where nobody does, or that is real.
    """

    open: Callable[[], Opened]
    clock: FakeClock
    plug_in: Callable[[], Awaitable[str]] | None = None
    restarts_same: bool = True
    break_renewals: Callable[[], None] | None = None


def plugged_in_files(folder: Path, clock: FakeClock) -> Rig:
    """A plugged-in CA."""
    ca = folder / "ca"
    config = FilesConfig(kind="files", dir=ca)
    write(ca, cacerts(SIGNER, roots=(ROOT,)))
    return Rig(
        lambda: files.open_(config, data_dir=folder / "data", trust_domain=TRUST_DOMAIN, clock=clock),
        clock,
        _plugging(lambda: write(ca, MOVED)),
    )


def own(folder: Path, clock: FakeClock) -> Rig:
    """A CA of our own."""
    keys = FileKeyStore(folder / "keys")
    return Rig(
        lambda: self_signed.open_(
            SelfSignedConfig(), data_dir=folder, keys=keys, trust_domain=TRUST_DOMAIN, clock=clock
        ),
        clock,
    )


def plugged_in_secret(_: Path, clock: FakeClock) -> Rig:
    """A plugged-in CA in a Secret."""
    store = FakeSecrets()
    store.put("cacerts", cacerts(SIGNER, roots=(ROOT,)))
    return Rig(lambda: over(store, clock), clock, _plugging(lambda: store.put("cacerts", MOVED)))


def shared_root(_: Path, clock: FakeClock) -> Rig:
    """A root in a Secret that a first start makes."""
    store = FakeSecrets()
    return Rig(lambda: over(store, clock), clock, restarts_same=False)


def over(store: FakeSecrets, clock: FakeClock) -> Opened:
    """A CA in one of Istio's Secrets."""
    config = SecretConfig(kind="secret", create=True)
    source = FakeSource(store, secret.secret_names(config))
    return secret.open_(config, source=source, published=None, trust_domain=TRUST_DOMAIN, clock=clock)


def fake(_: Path, clock: FakeClock) -> Rig:
    """The fake that other tests use."""
    return Rig(_again(FakeUpstream(material_of(SIGNER, roots=[ROOT]))), clock)


def fake_plugged_in(_: Path, clock: FakeClock) -> Rig:
    """The fake, as one where roots are not made."""
    upstream = FakeUpstream(material_of(SIGNER, roots=[ROOT]))
    upstream.makes_roots = False

    def plug_in() -> None:
        upstream.unwanted.add(certificate_id(ROOT.certificate))
        upstream.change(material_of(SIGNER, roots=[ROOT]), material_of(OTHERS, roots=[OTHER]))

    return Rig(_again(upstream), clock, _plugging(plug_in))


def vault(server: OpenBao, folder: Path) -> Rig:
    """A mount of a real server, whose roots are pinned by a file; the fake clock begins at the real time."""
    clock = FakeClock(datetime.now(UTC))
    made: list[tuple[Mount, VaultConfig]] = []

    @contextlib.asynccontextmanager
    async def opened() -> AsyncIterator[Upstream]:
        if not made:
            mount = await new_mount(server)
            made.append((mount, vault_config(server, mount, folder)))
        async with opening.open_(
            made[0][1], data_dir=folder, environ={}, trust_domain=TRUST_DOMAIN, clock=clock
        ) as upstream:
            yield upstream

    async def plug_in() -> str:
        pem = await add_root(server, made[0][0].path, issuer="two")
        await make_default(server, made[0][0].path, "two")
        (folder / "roots.pem").write_text(pem)
        return certificate_id(x509.load_pem_x509_certificate(pem.encode()))

    return Rig(opened, clock, plug_in)


def vault_in_memory(folder: Path, _: FakeClock) -> Rig:
    """A Vault in memory."""
    return _in_memory(folder, lambda upstream: upstream)


def after_a_move(folder: Path, _: FakeClock) -> Rig:
    """The same, after a move from an upstream of which nothing is left."""
    return _in_memory(folder, lambda upstream: Succession(upstream, [FakeUpstream()]))


def _in_memory(folder: Path, seen: Callable[[Upstream], Upstream]) -> Rig:
    there = vault_rig.Rig(folder)

    @contextlib.asynccontextmanager
    async def opened() -> AsyncIterator[Upstream]:
        yield seen(there.open(poll="1s"))

    async def plug_in() -> str:
        there.vault.issuers = [(vault_rig.OTHER,)]
        return vault_rig.TWO

    def break_renewals() -> None:
        there.vault.errors[SIGN] = failure(Fault.FORBIDDEN)

    return Rig(opened, there.clock, plug_in, break_renewals=break_renewals)


def _plugging(deed: Callable[[], None]) -> Callable[[], Awaitable[str]]:
    async def plug_in() -> str:
        deed()
        return certificate_id(OTHER.certificate)

    return plug_in


def _again(upstream: FakeUpstream) -> Callable[[], Opened]:
    @contextlib.asynccontextmanager
    async def opened() -> AsyncIterator[Upstream]:
        yield upstream

    return opened

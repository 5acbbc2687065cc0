"""A CA of our own over a data directory, and what is found there."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from meshca.authority.material import certificate_id
from meshca.authority.upstream import Offer
from meshca.config.upstream import SelfSignedConfig
from meshca.identity.spiffe_id import TrustDomain
from meshca.keystore.file import FileKeyStore
from meshca.upstream import self_signed
from meshca.upstream.self_signed import SelfSigned, open_
from tests.fakes.clock import FakeClock
from tests.fakes.pki import TRUST_DOMAIN
from tests.fakes.upstream import first_offer

MINUTES = timedelta(minutes=2)
CONFIG = SelfSignedConfig()


async def start(
    folder: Path,
    clock: FakeClock | None = None,
    *,
    config: SelfSignedConfig = CONFIG,
    trust_domain: TrustDomain = TRUST_DOMAIN,
) -> SelfSigned:
    """Start over a data directory."""
    keys = FileKeyStore(folder / "keys")
    opened = open_(config, data_dir=folder, keys=keys, trust_domain=trust_domain, clock=clock or FakeClock())
    async with opened as upstream:
        return upstream


async def offered(folder: Path, clock: FakeClock | None = None) -> Offer:
    """What a start over a data directory offers."""
    return await first_offer(await start(folder, clock))


def names(folder: Path) -> list[str]:
    """All that is below a folder."""
    return sorted(path.name for path in folder.rglob("*"))


def check(folder: Path, clock: FakeClock | None = None) -> list[str]:
    """Check, and tell what is below the folder then."""
    keys = FileKeyStore(folder / "keys")
    self_signed.check(CONFIG, data_dir=folder, keys=keys, trust_domain=TRUST_DOMAIN, clock=clock or FakeClock())
    return names(folder)


async def roots(upstream: SelfSigned) -> list[str]:
    """The ids of all roots, each of which signs."""
    lines = await upstream.lines()
    assert all(line.signs and line.wanted for line in lines)
    return [certificate_id(line.root) for line in lines]

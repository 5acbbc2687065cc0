"""The upstream over a Vault in memory and a data directory of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from meshca.authority.material import certificate_id
from meshca.authority.upstream import Line, Offer
from meshca.config.vault import VaultConfig
from meshca.upstream.kept_folder import KeptFolder
from meshca.upstream.vault.custody import AtOnce, Custody
from meshca.upstream.vault.lookout import Lookout
from meshca.upstream.vault.session import Session
from meshca.upstream.vault.signing import Keys, Signing
from meshca.upstream.vault.trust import MeshRoots, no_mesh
from meshca.upstream.vault.upstream import VaultUpstream
from tests.fakes.clock import FakeClock
from tests.fakes.jitter import Jitter
from tests.fakes.pki import DAY, NOW, TRUST_DOMAIN, make_ca
from tests.fakes.vault import FakeVault

ROOT, OTHER = make_ca("root"), make_ca("other root", begin=NOW - DAY / 2)
UPPER, SECOND_UPPER = make_ca("upper", ROOT), make_ca("second upper", ROOT)
ONE, TWO = certificate_id(ROOT.certificate), certificate_id(OTHER.certificate)
LIFE = timedelta(days=30)
HOUR = 3600.0
BY_ANY: Mapping[str, Any] = {"accept": "any"}
ON_FIRST_USE: Mapping[str, Any] = {"accept": "first_use"}


class Rig:
    """A Vault, a data directory, and upstreams over them, each as after a restart."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = FakeClock()
        self.vault = FakeVault(self.clock, (ROOT,))

    @property
    def kept(self) -> list[str]:
        """The files of what is kept."""
        return sorted(path.name for path in self.folder.glob("vault/*.json"))

    def config(self, roots: Mapping[str, Any] = BY_ANY, poll: str = "30s") -> VaultConfig:
        """Of the one mount."""
        login = {"token": {"file": "/nowhere"}}
        return VaultConfig.model_validate(
            {"kind": "vault", "address": "https://vault", "login": login, "roots": dict(roots), "poll": poll}
        )

    def lookout(
        self,
        config: VaultConfig | None = None,
        custody: Custody | None = None,
        mesh_roots: MeshRoots = no_mesh,
        jitter: float = 0.0,
    ) -> Lookout:
        """Which has seen nothing yet."""
        return Lookout(
            config or self.config(),
            client=self.vault,
            custody=custody or AtOnce(KeptFolder(self.folder, "vault")),
            mesh_roots=mesh_roots,
            clock=self.clock,
            rng=Jitter(jitter),
        )

    def open(
        self,
        roots: Mapping[str, Any] = BY_ANY,
        custody: Custody | None = None,
        keys: Keys | None = None,
        poll: str = "30s",
        mesh_roots: MeshRoots = no_mesh,
        jitter: float = 0.0,
    ) -> VaultUpstream:
        """An upstream with which nothing was done yet."""
        config = self.config(roots, poll)
        session = Session(self.vault, self.vault.login, self.clock, Jitter(jitter))
        custody = custody or AtOnce(KeptFolder(self.folder, "vault"))
        return VaultUpstream(
            config,
            lookout=self.lookout(config, custody, mesh_roots, jitter),
            signing=Signing(config, session, TRUST_DOMAIN, self.clock, keys, rng=Jitter(jitter)),
            custody=custody,
            trust_domain=TRUST_DOMAIN,
            clock=self.clock,
        )


async def turn(upstream: VaultUpstream, root: str = ONE) -> Offer:
    """What a turn of the rotation asks."""
    await upstream.lines()
    return await upstream.obtain(root)


def told(lines: Sequence[Line]) -> dict[str, tuple[bool, bool, bool]]:
    """By the root's id: whether it signs, is wanted, is current."""
    return {certificate_id(line.root): (line.signs, line.wanted, line.current) for line in lines}


def lose(path: Path, content: str | None) -> None:
    """Take a file away, or put something else into it."""
    if content is None:
        path.unlink()
    else:
        path.write_text(content)

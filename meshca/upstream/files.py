"""A plugged-in CA: certificates and key that somebody else puts into a folder, and changes there.

Reads, checks and keeps; whether new material may come into force is `rotation`'s decision. What was sound once is
kept in the data directory (`upstream.kept_folder`) until `forget`: what the operator takes away, or damages, must
neither stop the server nor make it sign below another root at once. `ca-crl.pem` is not read: revocation lists are
not supported yet.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509

from meshca.authority.faults import find_faults
from meshca.authority.material import SigningMaterial, certificate_id
from meshca.authority.upstream import Line, Offer
from meshca.clock import Clock
from meshca.config.upstream import FilesConfig
from meshca.errors import ConfigError, InvariantBroken, Refused
from meshca.identity.spiffe_id import TrustDomain
from meshca.log import log
from meshca.upstream.ca_set import read_ca_set
from meshca.upstream.cacerts_folder import Look, look
from meshca.upstream.kept_folder import KeptFolder
from meshca.upstream.seen import Seen
from meshca.upstream.sound_root import root_of, sound

POLL_SECONDS = 0.25  # a change is live within a second; one look costs four small reads


@asynccontextmanager
async def open_(
    config: FilesConfig, *, data_dir: Path, trust_domain: TrustDomain, clock: Clock
) -> AsyncIterator[Files]:
    """Read the folder once, so that a bad one stops the start, unless something is kept that signs.

    Raises:
        ConfigError: with every fault of every file.
        Unavailable: reason `ca_folder`, when it cannot be kept.
    """
    kept = KeptFolder(data_dir)
    kept.sweep()
    upstream = Files(config.dir, kept, trust_domain, clock)
    await upstream.lines()
    yield upstream


def check(config: FilesConfig, *, data_dir: Path, trust_domain: TrustDomain, clock: Clock) -> None:
    """Find what is wrong with the folder and with what is kept, without keeping anything.

    Raises:
        ConfigError: with every fault of every file.
    """
    Files(config.dir, KeptFolder(data_dir), trust_domain, clock).check()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What there is at one moment.

    Attributes:
        digest: of the folder.
        live: what the folder holds, when it is sound.
        kept: what is kept, by the root's id.
        named: the roots that the operator named last.
        problems: of all this, one line each.
    """

    digest: str
    live: SigningMaterial | None
    kept: Mapping[str, SigningMaterial]
    named: Sequence[x509.Certificate]
    problems: Sequence[str]


class Files:
    """Implements `authority.upstream.Upstream`; use `open_`.

    Attributes:
        problem: what is wrong with the folder, or with what is kept, as of the last `lines`.
        reached_at: None: nobody has to be reached.
        leaves: None: we sign them.
    """

    problem: ConfigError | None = None
    leaves: None = None
    reached_at: datetime | None = None

    def __init__(self, folder: Path, kept: KeptFolder, trust_domain: TrustDomain, clock: Clock) -> None:
        self._folder = folder
        self._kept = kept
        self._trust_domain = trust_domain
        self._clock = clock
        self._seen = Seen()

    async def lines(self) -> Sequence[Line]:
        """The roots that the folder names, or named last while it is bad, and those that are kept.

        Raises:
            ConfigError: nothing here signs; with every fault of every file.
            Unavailable: reason `ca_folder`, when what the folder holds cannot be kept.
        """
        found = self._find()
        self._seen.note(found.digest)
        self.problem = ConfigError(str(self._folder), found.problems) if found.problems else None
        if found.live is not None:
            self._kept.keep(found.live)
        lines = self._lines(found)
        if not any(line.signs for line in lines):
            faults = [fault for material in found.kept.values() for fault in self._faults(material)]
            raise ConfigError(str(self._folder), [*found.problems, *faults])
        return lines

    async def obtain(self, root: str) -> Offer:
        """What is in the folder now, if it signs below this root, or else what is kept.

        Raises:
            ConfigError: nothing signs below this root, or what does cannot be used any more.
            Unavailable: reason `ca_folder`, when what the folder holds cannot be kept.
        """
        found = self._find()
        if found.live is not None and certificate_id(root_of(found.live)) == root:
            self._kept.keep(found.live)
            return Offer(material=found.live, renew_at=None)
        if root not in found.kept:
            todo = f"nothing signs below the root {root}; put a signing certificate below it there"
            raise ConfigError(str(self._folder), [todo, *found.problems])
        if faults := self._faults(found.kept[root]):
            raise ConfigError(str(self._folder), [*faults, *found.problems])
        return Offer(material=found.kept[root], renew_at=None)

    async def make_root(self, *, same_key: str = "") -> Line:  # noqa: ARG002 - the port's
        """Never: whoever plugs in a CA has its root.

        Raises:
            Refused: reason `upstream`, always; says where the operator puts one.
        """
        raise self._not_here()

    async def may_make_root(self) -> None:
        """Never, as `make_root`."""
        raise self._not_here()

    def _not_here(self) -> Refused:
        problem = "roots are plugged in and not made here; put a signing certificate below the new root, its chain"
        return Refused("upstream", f"{problem} and its key into {self._folder}, and name both roots there")

    async def forget(self, keep: Collection[str]) -> None:
        """Remove what is kept below every other root; the folder is the operator's.

        Raises:
            InvariantBroken: reason `forget`: not one that signs is to be kept; nothing was deleted.
            Unavailable: reason `ca_folder`.
        """
        found = self._find()
        if not any(line.signs and certificate_id(line.root) in keep for line in self._lines(found)):
            raise InvariantBroken("forget", "no root that signs was named to be kept; nothing was deleted")
        live = [] if found.live is None else [certificate_id(root_of(found.live))]
        for name in self._kept.forget({*keep, *live}):
            log.info("ca.forgotten", kind="root", sha256=name)

    async def changed(self) -> None:
        """Return when the folder differs from what `lines` saw and, unless it changed at once, is at rest."""
        with self._seen.watched() as seen:
            while True:
                await self._clock.sleep(POLL_SECONDS)
                now = look(self._folder)
                if now.digest != seen and (now.projected or await self._at_rest(now)):
                    return

    def check(self) -> None:
        """As the function `check`."""
        if problems := self._find().problems:
            raise ConfigError(str(self._folder), problems)

    async def _at_rest(self, before: Look) -> bool:
        await self._clock.sleep(POLL_SECONDS)
        return look(self._folder).digest == before.digest

    def _find(self) -> _Found:
        of_kept: list[str] = []
        kept, named = self._kept.load(of_kept), self._kept.named(of_kept)
        seen = look(self._folder)
        problems = list(seen.problems)
        live = sound(
            read_ca_set(seen.layout, seen.contents, problems),
            problems,
            company=[*map(root_of, kept.values()), *named],
            trust_domain=self._trust_domain,
            now=self._clock.now(),
        )
        if live is not None:
            kept, named = {**kept, certificate_id(root_of(live)): live}, live.roots
        return _Found(digest=seen.digest, live=live, kept=kept, named=named, problems=[*problems, *of_kept])

    def _lines(self, found: _Found) -> Sequence[Line]:
        roots = dict.fromkeys((*found.named, *map(root_of, found.kept.values())))
        signing = {id_ for id_, material in found.kept.items() if not self._faults(material)}
        live = "" if found.live is None else certificate_id(root_of(found.live))
        lines = [
            Line(
                root=root,
                signs=certificate_id(root) in signing,
                wanted=not found.named or root in found.named,
                kept=certificate_id(root) in signing,
                current=certificate_id(root) == live,
            )
            for root in roots
        ]
        return sorted(lines, key=lambda line: line.root.not_valid_before_utc)

    def _faults(self, material: SigningMaterial) -> list[str]:
        """What has come over material that was sound once: it expires."""
        certificates = (material.certificate, *material.others)
        return find_faults(certificates, material.roots, material.key, self._trust_domain, self._clock.now())

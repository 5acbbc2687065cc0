"""What one replica does for the cluster: publishes the roots, keeps istiod's certificate, and agrees who that is.

Runs in the parent, beside everything else: an API server that is gone, or a permission that is missing, is shown
and tried again, and never keeps a worker from issuing.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Final

from meshca import metrics
from meshca.app.in_force import InForce
from meshca.app.istiod_certificate import RULE, IstiodCertificate
from meshca.app.own_leaves import OwnLeaves
from meshca.app.pipeline import profile_of
from meshca.app.publication import Publication
from meshca.app.rotating import is_apart
from meshca.authority.serials import Serials
from meshca.authority.signing import Authority
from meshca.authority.slot import Slot
from meshca.background import running
from meshca.clock import Clock
from meshca.config.kubernetes import KubernetesConfig
from meshca.config.server import ServerConfig
from meshca.kube.api import Api
from meshca.kube.connection import connect, own_namespace
from meshca.kube.kept import Kept
from meshca.kube.lease import Election
from meshca.kube.lease_lock import KubeLock
from meshca.kube.root_config_maps import RootConfigMaps
from meshca.kube.tls_secret import TlsSecret
from meshca.kube.trust_bundle import TrustBundle
from meshca.ledger.port import LedgerStore
from meshca.log import log
from meshca.rotation.driver import Rotation
from meshca.rpc.kubernetes_report import KubernetesReport, ObjectReport, PublishedReport
from meshca.svid.good_roots import good_roots

FOLLOW_SECONDS: Final = 0.2  # between two looks at what is in force
LOOK_SECONDS: Final = 60.0  # between two looks at whether a root has ended
SHOW_SECONDS: Final = 1.0  # between two looks at how everything stands
SHOWN: Final = 20  # objects with a problem in a report
_PARENT_PREFIXES: Final = 0x7F  # 1 to 127: workers' prefixes begin above (`app.in_force`)
_STATES: Final = ("in_sync", "pending", "failing", "contested")


class Controllers:
    """All of them; each part is None when it is not configured.

    Args:
        election: who leads.
        maps: the roots in ConfigMaps.
        bundle: the roots as a ClusterTrustBundle.
        istiod: its certificate.
        authority: signs that.
        publication: is told since when which roots are published.
        clock: for the validity of roots.
        apart: whether this replica changes roots by a store of its own.
    """

    def __init__(  # noqa: PLR0913 - its parts, by name
        self,
        *,
        election: Election,
        maps: RootConfigMaps | None,
        bundle: TrustBundle | None,
        istiod: IstiodCertificate | None,
        authority: Authority,
        publication: Publication,
        clock: Clock,
        apart: bool = False,
    ) -> None:
        self._apart = apart
        self._rival = ""
        self.election = election
        self.maps = maps
        self.bundle = bundle
        self.istiod = istiod
        self._authority = authority
        self._publication = publication
        self._clock = clock
        self._left_out: tuple[str, ...] = ()
        self._published = ""

    def use_roots(self, pem: str) -> None:
        """Publish what is good of these; when nothing is, what is published stays."""
        good = good_roots(pem, self._clock.now())
        metrics.roots_left_out.set(len(good.left_out))
        if good.left_out != self._left_out:
            log.warning("roots.left_out", problems=good.left_out)
        self._left_out = good.left_out
        if good.pem:
            self._published = good.pem
            for keeper in (self.maps, self.bundle):
                if keeper is not None:
                    keeper.want(good.pem)

    def note_publication(self) -> None:
        """Tell how publishing stands; a place that the cluster does not have does not count."""
        places: list[Kept | None] = []
        for keeper in (self.maps, self.bundle):
            if keeper is not None and not (keeper is self.bundle and keeper.absent):
                kept, blind = keeper.report(), "; ".join(keeper.watch_errors())
                places.append(kept and replace(kept, error=kept.error or blind))
        self._publication.note(self._published, places)

    def use_slots(self, slot: Slot, serving: Slot | None) -> None:
        """Sign istiod's certificate by the serving one from now on; by the other when there is none."""
        self._authority.replace(slot, serving)
        if self.istiod is not None:
            self.istiod.signer_changed()

    async def follow(self, in_force: InForce, rotation: Rotation) -> None:
        """Take over what is in force, for ever."""
        used: tuple[Slot | None, Slot | None] = (None, None)
        roots, look_at = "", 0.0
        while True:
            now = self._clock.monotonic()
            if in_force.authority is not None and (in_force.authority.roots != roots or now >= look_at):
                roots, look_at = in_force.authority.roots, now + LOOK_SECONDS
                self.use_roots(roots)
            slot, serving = rotation.progress.slot, rotation.progress.serving
            if slot is not None and (slot, serving) != used:
                used = slot, serving
                self.use_slots(slot, serving)
            self.note_publication()
            await self._clock.sleep(FOLLOW_SECONDS)

    async def show(self) -> None:
        """Keep the gauges, and tell of a rival, for ever."""
        while True:
            if (rival := self.rival) and rival != self._rival:
                log.error("store.not_shared", rival=rival)
            self._rival = rival
            for kind, part in (("config_map", self.maps), ("trust_bundle", self.bundle)):
                if part is not None:
                    _show(kind, part.report())
            await self._clock.sleep(SHOW_SECONDS)

    @property
    def rival(self) -> str:
        """Another replica that lives although this one is apart; only one that follows can see it."""
        return self.election.holder if self._apart and not self.election.leading() else ""

    def report(self) -> KubernetesReport:
        """How it all stands."""
        election, bundle, istiod = self.election, self.bundle, self.istiod
        return KubernetesReport(
            leading=election.leading(),
            holder=election.holder,
            election_error=election.error.detail if election.error else "",
            left_out=self._left_out,
            config_maps=_published(self.maps.report(), self.maps.watch_errors()) if self.maps else None,
            bundle=_published(bundle.report(), bundle.watch_errors()) if bundle else None,
            bundle_version=bundle.version if bundle else "",
            istiod_secret=istiod.name if istiod else "",
            istiod_not_after=istiod.not_after if istiod else None,
            istiod_error=istiod.error if istiod else "",
            rival=self.rival,
        )


@contextlib.asynccontextmanager
async def controlling(  # noqa: PLR0913, PLR0917 - what they are made of
    config: ServerConfig,
    in_force: InForce,
    rotation: Rotation,
    publication: Publication,
    ledger: LedgerStore,
    clock: Clock,
) -> AsyncIterator[Controllers | None]:
    """Everything that is configured, running inside the block; None when nothing is.

    Raises:
        ConfigError: the cluster cannot be reached as configured, or our own namespace is not known.
    """
    kubernetes = config.kubernetes
    if kubernetes is None or not is_needed(kubernetes):
        yield None
        return
    namespace = own_namespace(kubernetes)
    watches = len(kubernetes.root_config_map.namespaces) + 3
    async with connect(kubernetes, watches=watches) as api:
        controllers = _made(config, kubernetes, api, namespace, rotation, publication, ledger, clock)
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(controllers.election.release)  # last, when nothing writes any more
            await stack.enter_async_context(running("lease", controllers.election.run, clock))
            for name, part in _parts(controllers):
                await stack.enter_async_context(_running_while_leading(name, part, controllers.election, clock))

            async def follow() -> None:
                await controllers.follow(in_force, rotation)

            await stack.enter_async_context(running("controllers", follow, clock))
            await stack.enter_async_context(running("controllers' gauges", controllers.show, clock))
            yield controllers


def is_needed(config: KubernetesConfig) -> bool:
    """Whether anything is configured that only one replica may do."""
    return (
        config.root_config_map.enabled or config.cluster_trust_bundle.enabled or config.istiod_certificate.enabled
    )


def _made(  # noqa: PLR0913, PLR0917 - what it is made of
    config: ServerConfig,
    kubernetes: KubernetesConfig,
    api: Api,
    namespace: str,
    rotation: Rotation,
    publication: Publication,
    ledger: LedgerStore,
    clock: Clock,
) -> Controllers:
    identity = f"{socket.gethostname()}_{os.getpid()}_{secrets.token_hex(4)}"
    lock = KubeLock(api, namespace, kubernetes.lease, identity)
    # Who has nothing to sign with has nothing to publish, and must not keep those who have from it.
    election = Election(lock, identity, clock, standing=lambda: rotation.progress.slot is not None)
    installation = f"{namespace}/{kubernetes.lease}"
    authority = Authority(Serials(secrets.randbelow(_PARENT_PREFIXES) + 1), profile_of(config))
    fence = election.fence
    maps, bundle = kubernetes.root_config_map, kubernetes.cluster_trust_bundle
    istiod = kubernetes.istiod_certificate
    certificate = IstiodCertificate(
        place=TlsSecret(api, istiod.namespace, istiod.secret, installation, fence),
        authority=authority,
        leaves=OwnLeaves(
            authority=authority,
            ledger=ledger,
            clock=clock,
            rule=RULE,
            request_id="parent",
            namespace=istiod.namespace,
        ),
        names=istiod.names,
        lifetime=istiod.lifetime,
        fence=fence,
        clock=clock,
    )
    return Controllers(
        election=election,
        maps=RootConfigMaps(api, maps, fence, installation, clock) if maps.enabled else None,
        bundle=TrustBundle(api, bundle, fence, installation, clock) if bundle.enabled else None,
        istiod=certificate if istiod.enabled else None,
        authority=authority,
        publication=publication,
        clock=clock,
        apart=is_apart(config),
    )


_Part = RootConfigMaps | TrustBundle | IstiodCertificate


def _parts(controllers: Controllers) -> Sequence[tuple[str, _Part]]:
    named = (
        ("root config maps", controllers.maps),
        ("trust bundle", controllers.bundle),
        ("istiod certificate", controllers.istiod),
    )
    return [(name, part) for name, part in named if part is not None]


def _running_while_leading(
    name: str, part: _Part, election: Election, clock: Clock
) -> contextlib.AbstractAsyncContextManager[None]:
    async def run() -> None:
        await election.while_leading(part.run)

    return running(name, run, clock)


def _show(kind: str, kept: Kept | None) -> None:
    counts = (0, 0, 0, 0)
    if kept is not None:
        counts = (kept.in_sync, kept.pending, len(kept.failing), len(kept.contested) + len(kept.foreign))
    for state, count in zip(_STATES, counts, strict=True):
        metrics.published_objects.labels(kind, state).set(count)


def _published(kept: Kept | None, watch_errors: Sequence[str]) -> PublishedReport:
    if kept is None:
        return PublishedReport(in_sync=0, pending=0, failing=0, contested=0, problems=(), error="")
    problems = [ObjectReport(name=name, detail=detail) for name, detail in (*kept.foreign, *kept.failing)]
    problems += [ObjectReport(name=name, detail=f"changed again and again by {by}") for name, by in kept.contested]
    return PublishedReport(
        in_sync=kept.in_sync,
        pending=kept.pending,
        failing=len(kept.failing),
        contested=len(kept.contested) + len(kept.foreign),
        problems=tuple(problems[:SHOWN]),
        error="; ".join(filter(None, (*watch_errors, kept.error))),
    )

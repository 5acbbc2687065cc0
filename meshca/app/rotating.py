"""Puts the parts of root rotation together: who has roots, what is kept, who counts, what is put in force."""

from __future__ import annotations

import functools
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from meshca.app.publication import Publication
from meshca.authority.gate import Terms
from meshca.authority.upstream import Upstream
from meshca.clock import Clock
from meshca.config.server import ServerConfig
from meshca.config.upstream import SelfSignedConfig
from meshca.rotation.acts import RootActs
from meshca.rotation.census import Census
from meshca.rotation.driver import Rotation
from meshca.rotation.judge import Judge
from meshca.rotation.reporting import Reporting
from meshca.rotation.stander import Stander
from meshca.rotation.standing import Standing
from meshca.rotation.steady import SteadyClock
from meshca.rotation.stepper import Stepper
from meshca.store.engine import Store
from meshca.store.location import is_shared

FOLLOW: Final = timedelta(seconds=15)  # a replica follows within one, and counts as silent after ten


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotating:
    """What drives roots, and what an administrator asks of them.

    Attributes:
        rotation: the driver.
        acts: the administrator's commands.
    """

    rotation: Rotation
    acts: RootActs


def rotating(  # noqa: PLR0913 - its parts, by name
    config: ServerConfig,
    *,
    upstream: Upstream,
    store: Store,
    clock: Clock,
    publish: Callable[[Standing], Awaitable[None]],
    publication: Publication,
) -> Rotating:
    """All parts, not yet started."""
    replica = config.replica or socket.gethostname()

    def leading() -> bool:
        return store.leading if publication.writes is None else publication.writes

    def driven_by() -> str:
        return replica if leading() else store.leader if publication.writes is None else ""

    async def living() -> tuple[str, ...]:
        return replica, *await store.living()

    steady = SteadyClock(clock)
    census = Census(
        adoptions=store.adoption,
        ledger=store.ledger,
        clock=steady,
        seen_within=config.rotation.seen_within or config.svid.max_lifetime,
        settle=config.rotation.settle,
    )
    unheard = config.ledger.spool.max_age + config.svid.max_lifetime  # so long may live what a lost one issued
    judge = Judge(
        census=census,
        terms=terms_of(config),
        clock=steady,
        silent=functools.partial(store.silent, unheard),
        living=living,
        follow=FOLLOW if is_shared(config.ledger_url) else timedelta(0),
        publication=publication,
    )
    stepper = Stepper(
        upstream=upstream,
        store=store.lifecycle,
        judge=judge,
        clock=clock,
        trust_domain=config.trust_domain,
        config=config.rotation,
        plugged_in=not isinstance(config.upstream, SelfSignedConfig),
    )
    stander = Stander(
        upstream=upstream,
        keep=stepper.commit,
        clock=clock,
        trust_domain=config.trust_domain,
        replica=replica,
    )
    rotation = Rotation(
        upstream=upstream,
        store=store.lifecycle,
        stepper=stepper,
        stander=stander,
        clock=clock,
        publish=publish,
        leading=leading,
    )
    acts = RootActs(
        store=store.lifecycle,
        stepper=stepper,
        judge=judge,
        rotation=rotation,
        reporting=Reporting(
            judge=judge, clock=clock, driven_by=lambda: store.leader or (replica if store.leading else "")
        ),
        clock=clock,
    )
    return Rotating(rotation=rotation, acts=acts)


def is_apart(config: ServerConfig) -> bool:
    """Whether a replica changes roots by what it alone has seen: by a store that no other one has."""
    upstream = config.upstream
    changes = upstream.kind != "secret" or upstream.rotate
    return changes and not is_shared(config.ledger_url)


def terms_of(config: ServerConfig) -> Terms:
    """When gates count as open by a configuration."""
    cluster = config.kubernetes
    published = cluster is not None and (cluster.root_config_map.enabled or cluster.cluster_trust_bundle.enabled)
    return Terms(
        share=config.rotation.share,
        settle=config.rotation.settle,
        published_for=config.rotation.published_for if published else timedelta(0),
    )

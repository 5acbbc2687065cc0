"""Wires a worker's rooms into the pipeline that every door of the server leads to."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from meshca.admission.model import RuleSet
from meshca.admission.parse import parse
from meshca.app.briefing import Briefing
from meshca.app.control import UseAdmission, UseAuthority, UseOrder, UsePolicies, worker_instance
from meshca.app.proving import node_proxies, open_chain, open_known_clusters
from meshca.app.sharing import sharing
from meshca.app.subscribers import Subscribers, stream_rate
from meshca.authn.cluster import Clusters, ClusterState
from meshca.authority.material import SigningMaterial, WireMaterial
from meshca.authority.outside import LeafSigner
from meshca.authority.serials import Serials
from meshca.authority.signing import Authority
from meshca.authority.slot import Slot
from meshca.authz.parse import ParsedFiles, parse_changed
from meshca.backoff import JITTER, Backoff
from meshca.clock import Clock
from meshca.config.server import BucketConfig, ServerConfig
from meshca.config.upstream import signs_leaves
from meshca.delivery import Delivery
from meshca.discovery.order import NO_ORDER, RenewalOrder
from meshca.errors import BadRequest, InvariantBroken, Unavailable
from meshca.identity.spiffe_id import TrustDomain
from meshca.issuance import Issuing
from meshca.keystore.pkcs11 import open_key
from meshca.log import log
from meshca.quota import Quota, Rate
from meshca.secret import Secret
from meshca.store.engine import Store, open_store
from meshca.svid.profile import Profile
from meshca.svid.servable import servable_roots

AWAY: Final = "key_token"  # the reason of a token that does not answer
TOKEN_SECONDS: Final = 20.0  # for a token to answer a worker that starts; far less than the parent waits for one
TOKEN_BACKOFF: Final = Backoff(floor=0.1, ceiling=3.0)


class Pipeline:
    """A worker's pipeline; authority, rules and policies can be replaced while it runs."""

    def __init__(  # noqa: PLR0913 - the parts, by name
        self,
        *,
        config: ServerConfig,
        issuing: Issuing,
        subscribers: Subscribers,
        authority: Authority,
        delivery: Delivery,
        store: Store,
        instance: str,
        clock: Clock,
        clusters: Clusters | None = None,
    ) -> None:
        self.config = config
        self.issuing = issuing
        self.subscribers = subscribers
        self.authority = authority
        self.delivery = delivery
        self.store = store
        self.instance = instance
        self.clock = clock
        self._parsed = ParsedFiles()
        self._clusters = clusters

    @property
    def clusters(self) -> Sequence[ClusterState]:
        """How Kubernetes clusters are; none when none is used."""
        return self._clusters.states if self._clusters else ()

    def use_authority(self, news: UseAuthority) -> None:
        """Sign with other material from now on, or nothing, once it has proven itself here as well.

        Raises:
            ConfigError: it has not; what is in force stays.
            InvariantBroken: its roots cannot be given to an Envoy; what is in force stays.
        """
        now = self.clock.now()
        slot, serving = _slots(news, self.config.trust_domain, now)
        bundle = servable_roots(news.roots, now)
        self.authority.replace(slot, serving)
        if news.withheld:
            self.authority.withhold(news.withheld)
        self.delivery.publish_roots(bundle)

    def use_order(self, news: UseOrder) -> None:
        """Have these leaves replaced; the order before is forgotten.

        Raises:
            InvariantBroken: it does not say when it began; the order in force stays.
        """
        self.delivery.publish_order(_order(news))

    async def use_admission(self, news: UseAdmission) -> None:
        """Decide by other rules from now on; parsed in a thread, so that others are answered meanwhile.

        Raises:
            ConfigError: they cannot be read; those in force stay.
        """
        self.issuing.use_rules(await asyncio.to_thread(_rules, news, self.config.trust_domain))

    async def use_policies(self, news: UsePolicies) -> None:
        """Push other policies from now on; parsed in a thread, so that others are answered meanwhile.

        Raises:
            ConfigError: they cannot be read; those in force stay.
        """
        root = self.config.policies.root_namespace
        self._parsed = await asyncio.to_thread(parse_changed, news.files, root, self._parsed)
        await self.delivery.publish_policies(self._parsed.policies)

    async def probe(self) -> None:
        """Sign and verify a certificate, write and read the store, and see that the home cluster was ever reached.

        Raises:
            Unavailable, InvariantBroken: what does not work.
        """
        self.authority.probe(self.clock.now())
        await self.store.probe()
        if self._clusters:
            self._clusters.check_reached()


@contextlib.asynccontextmanager
async def open_pipeline(
    briefing: Briefing, clock: Clock, desk: LeafSigner | None = None
) -> AsyncIterator[Pipeline]:
    """The pipeline that a briefing describes.

    Args:
        briefing: that.
        clock: of everything in it.
        desk: where leaves are had that somebody else signs, if so configured.

    Raises:
        ConfigError: the store, the signing material or the rules cannot be used.
        Unavailable: reason `key_token`: the token that signs did not answer for long enough.
    """
    config = briefing.config
    profile = profile_of(config)
    authority = Authority(Serials(briefing.prefix), profile)
    async with (
        open_store(config.ledger_url, clock, instance=briefing.name, sharing=sharing(config)) as store,
        open_known_clusters(config, clock) as clusters,
        open_chain(config, store.lineage, clusters, clock) as chain,
    ):
        issuing = Issuing(
            chain=chain,
            rules=_rules(briefing.admission, config.trust_domain),
            profile=profile,
            strict=config.csr.mode == "strict",
            authority=authority,
            ledger=store.ledger,
            quota=_quota(config),
            clock=clock,
            node_proxies=node_proxies(config, clusters),
            leaf_signer=desk if signs_leaves(config.upstream) else None,
        )
        pipeline = Pipeline(
            config=config,
            issuing=issuing,
            subscribers=Subscribers(
                issuing=issuing,
                quota=_quota(config, stream_rate),
                trust_domain=config.trust_domain,
                clock=clock,
            ),
            authority=authority,
            delivery=Delivery(clock),
            store=store,
            instance=worker_instance(briefing.name, os.getpid()),
            clock=clock,
            clusters=clusters,
        )
        await begin(pipeline, briefing.authority)
        pipeline.use_order(briefing.order)
        await pipeline.use_policies(briefing.policies)
        yield pipeline


async def begin(pipeline: Pipeline, news: UseAuthority) -> None:
    """Sign with what the briefing says; a token that fails now is asked again, for others may be opening it."""
    clock, failures = pipeline.clock, 0
    until = clock.monotonic() + TOKEN_SECONDS
    while True:
        try:
            pipeline.use_authority(news)
        except Unavailable as error:
            failures += 1
            pause = TOKEN_BACKOFF.pause(failures, JITTER)
            if error.reason != AWAY or clock.monotonic() + pause > until:
                raise
            log.warning("worker.token_fails", detail=error.detail, again_in=round(pause, 1))
            await clock.sleep(pause)
        else:
            return


def profile_of(config: ServerConfig) -> Profile:
    """The limits of validity that a configuration means."""
    return Profile(
        default_lifetime=config.svid.default_lifetime,
        max_lifetime=config.svid.max_lifetime,
        refuse_longer=config.svid.over_maximum == "refuse",
    )


def _quota(config: ServerConfig, scaled: Callable[[Rate], Rate] = lambda rate: rate) -> Quota:
    """This worker's share of the server's limits."""

    def share(bucket: BucketConfig) -> Rate:
        return scaled(Rate(per_second=bucket.rate, burst=bucket.burst)).share(config.worker_count)

    return Quota(per_identity=share(config.limits.per_identity), per_namespace=share(config.limits.per_namespace))


def _slots(news: UseAuthority, trust_domain: TrustDomain, now: datetime) -> tuple[Slot, Slot | None]:
    """The slot for workloads, and that for our own ports where it is another one."""

    def prove(chain: str, key: str) -> Slot:
        wire = WireMaterial(chain=chain, roots=news.chain_roots or news.roots, key=Secret(key))
        return Slot.prove(SigningMaterial.from_wire(wire, open_key), trust_domain, now)

    serving = prove(news.serving_chain, news.serving_key) if news.serving_chain else None
    return prove(news.chain, news.key), serving


def _order(news: UseOrder) -> RenewalOrder:
    if not news.signers:
        return NO_ORDER
    try:
        begun_at = datetime.fromisoformat(news.begun_at).astimezone(UTC)
        return RenewalOrder(
            signers=frozenset(news.signers), begun_at=begun_at, window=timedelta(seconds=news.window)
        )
    except (ValueError, OverflowError, BadRequest):
        raise InvariantBroken("order", "an order must say when it began and how long it lasts") from None


def _rules(news: UseAdmission, trust_domain: TrustDomain) -> RuleSet:
    return parse(news.text, news.source, trust_domain)

"""What each kind of workload gets, and who is woken."""

from __future__ import annotations

import asyncio
import gc
from datetime import UTC, datetime, timedelta

import pytest

from meshca.authz.model import Action, Policy, PolicySet, Workload
from meshca.config.resource_names import (
    AUTHZ,
    EXTENSION_TYPE_URL,
    LARGEST_POLICIES,
    ORDER,
    ORDER_TYPE_URL,
    ROOTCA,
    SECRET_TYPE_URL,
)
from meshca.delivery import Delivery, Versions
from meshca.discovery.order import NO_ORDER, RenewalOrder
from meshca.discovery.resources import TrustBundle, content_hash
from meshca.discovery.source import Source
from meshca.identity.spiffe_id import TrustDomain
from tests.fakes.clock import FakeClock
from tests.fakes.logs import captured_logs

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DOMAIN = TrustDomain("cluster.local")
ROOTS = TrustBundle(pem="root a")
OTHER_ROOTS = TrustBundle(pem="root a+b")
NO_POLICIES = PolicySet()
ONE_POLICY = PolicySet(policies=(Policy(namespace="shop", name="deny", action=Action.DENY),))


class Compiler:
    """Stands in for `compile_rbac`; a filter is the number of policies and the workload's name."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, policies: PolicySet, workload: Workload) -> bytes:
        """Count."""
        self.calls += 1
        return f"{len(policies.policies)} for {workload.namespace}{dict(workload.labels)}".encode()


@pytest.fixture
def compiler() -> Compiler:
    """Counts what is compiled."""
    return Compiler()


@pytest.fixture
def delivery(compiler: Compiler) -> Delivery:
    """Nothing published yet."""
    return Delivery(FakeClock(), compiler)


def workload(namespace: str = "shop", **labels: str) -> Workload:
    """A kind of workload."""
    return Workload(namespace=namespace, trust_domain=DOMAIN, labels=labels)


def body(source: Source) -> bytes:
    """The filter that a source holds."""
    return source.resources(EXTENSION_TYPE_URL)[AUTHZ].body


def test_nothing_is_held_before_the_first_publication(delivery: Delivery) -> None:
    """Names stay pending, and no version is shown."""
    source = delivery.source(workload())
    assert not source.resources(SECRET_TYPE_URL)
    assert not source.resources(EXTENSION_TYPE_URL)
    assert delivery.versions == Versions()


def test_roots_go_to_everybody_under_both_names(delivery: Delivery) -> None:
    """To those who are there and those who come later; under ROOTCA and the trust domain's ID."""
    before = delivery.source(workload("a"))
    delivery.publish_roots(ROOTS)
    after = delivery.source(workload("b"))
    for source in (before, after):
        held = source.resources(SECRET_TYPE_URL)
        assert set(held) == {ROOTCA, "spiffe://cluster.local"}
        assert {resource.version for resource in held.values()} == {delivery.versions.roots}
    assert delivery.versions.roots == content_hash(b"root a")


def test_an_order_goes_to_everybody(delivery: Delivery) -> None:
    """To those who are there and those who come later; nobody's request for it stays pending before one."""
    before = delivery.source(workload("a"))
    first = before.resources(ORDER_TYPE_URL)[ORDER]
    assert delivery.order == NO_ORDER
    wanted = RenewalOrder(signers=frozenset({"ab" * 32}), begun_at=NOW, window=timedelta(minutes=5))
    delivery.publish_order(wanted)
    after = delivery.source(workload("b"))
    held = [source.resources(ORDER_TYPE_URL) for source in (before, after)]
    assert held[0] == held[1]
    assert held[0][ORDER].version != first.version
    assert delivery.order == wanted


async def test_policies_are_those_of_the_workload(delivery: Delivery) -> None:
    """By namespace and labels; before and after publication."""
    before = delivery.source(workload("a", app="x"))
    await delivery.publish_policies(ONE_POLICY)
    after = delivery.source(workload("b"))
    assert body(before) == b"1 for a{'app': 'x'}"
    assert body(after) == b"1 for b{}"


async def test_no_policy_is_pushed_as_a_filter(delivery: Delivery) -> None:
    """An empty set is published, too: it means allow."""
    await delivery.publish_policies(NO_POLICIES)
    assert body(delivery.source(workload())) == b"0 for shop{}"


async def test_each_kind_of_workload_is_compiled_once_per_change(delivery: Delivery, compiler: Compiler) -> None:
    """However many streams it has, and in whatever order its labels come."""
    await delivery.publish_policies(NO_POLICIES)
    held = [delivery.source(workload(a="1", b="2")), delivery.source(workload(b="2", a="1"))]
    held += [delivery.source(workload(a="1"))]
    assert (compiler.calls, held[0] is held[1]) == (2, True)
    await delivery.publish_policies(ONE_POLICY)
    assert compiler.calls == 4


async def test_change_wakes_once_and_sameness_never(delivery: Delivery) -> None:
    """Each publication that differs, once."""
    woken: list[int] = []
    source = delivery.source(workload())
    source.watch(lambda: woken.append(1))
    for _ in range(2):
        delivery.publish_roots(ROOTS)
        await delivery.publish_policies(NO_POLICIES)
    assert len(woken) == 2
    delivery.publish_roots(OTHER_ROOTS)
    assert len(woken) == 3


async def test_versions_change_with_the_content(delivery: Delivery) -> None:
    """Both are content hashes; the same content has the same one on every worker."""
    delivery.publish_roots(ROOTS)
    await delivery.publish_policies(NO_POLICIES)
    first = delivery.versions
    delivery.publish_roots(OTHER_ROOTS)
    await delivery.publish_policies(ONE_POLICY)
    second = delivery.versions
    assert (first.roots != second.roots, first.policies != second.policies) == (True, True)
    other = Delivery(FakeClock(), Compiler())
    other.publish_roots(OTHER_ROOTS)
    await other.publish_policies(PolicySet(policies=ONE_POLICY.policies))
    assert other.versions == second


async def test_newer_policies_go_past_older_ones(compiler: Compiler) -> None:
    """Workloads that the older publication has not reached are compiled only for the newer."""

    class Interrupted(FakeClock):
        """Publishes something newer in the first pause."""

        paused = False

        async def sleep(self, seconds: float) -> None:
            if not self.paused:
                self.paused = True
                await interrupted.publish_policies(ONE_POLICY)

    interrupted = Delivery(Interrupted(), compiler)
    held = [interrupted.source(workload(str(number))) for number in range(3)]
    await interrupted.publish_policies(NO_POLICIES)
    assert [body(source)[:1] for source in held] == [b"1"] * 3
    assert compiler.calls == 1 + 3


async def test_workload_without_streams_is_forgotten(delivery: Delivery, compiler: Compiler) -> None:
    """A mesh whose pods come and go does not fill the memory."""
    source: Source | None = delivery.source(workload())
    del source
    gc.collect()
    await delivery.publish_policies(NO_POLICIES)
    assert compiler.calls == 0


async def test_real_filters_are_made_by_default() -> None:
    """The compiler of `authz`."""
    delivery = Delivery(FakeClock())
    await delivery.publish_policies(ONE_POLICY)
    assert AUTHZ.encode() in body(delivery.source(workload()))


async def test_subscriber_in_the_middle_of_a_publication_gets_the_newer(compiler: Compiler) -> None:
    """What is being published counts from the first moment."""
    clock = FakeClock()
    delivery = Delivery(clock, compiler)
    kept = [delivery.source(workload(str(number))) for number in range(2)]
    publishing = asyncio.create_task(delivery.publish_policies(ONE_POLICY))
    await asyncio.sleep(0)
    assert body(delivery.source(workload("late"))) == b"1 for late{}"
    await publishing
    assert [body(source) for source in kept] == [b"1 for 0{}", b"1 for 1{}"]
    assert clock.sleepers == 0


async def test_a_filter_that_no_agent_takes_is_not_sent() -> None:
    """The last good one stays."""
    filters = [b"good", b"x" * (LARGEST_POLICIES + 1)]
    delivery = Delivery(FakeClock(), lambda *_: filters.pop(0))
    source = delivery.source(workload())
    await delivery.publish_policies(NO_POLICIES)
    with captured_logs() as logs:
        await delivery.publish_policies(ONE_POLICY)
    assert body(source) == b"good"
    assert [line["event"] for line in logs] == ["delivery.policies_too_large"]

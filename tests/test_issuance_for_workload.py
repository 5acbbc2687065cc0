"""A node proxy asks for a workload on its node."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from meshca.admission.parse import parse
from meshca.errors import Denied, Exhausted, Unauthenticated, Unavailable
from meshca.identity.caller import BoundObject
from meshca.quota import PER_ASKER
from tests.fakes.issuance_rig import IssuanceRig, uris
from tests.fakes.logs import captured_logs
from tests.fakes.node_proxies import WEB_ID, pod, proxies, proxy, proxy_pod
from tests.fakes.pki import TRUST_DOMAIN
from tests.fakes.pods import FakePods

BRAKE = """
rules:
  - name: brake
    effect: refuse
    match: {service_accounts: [%s]}
  - name: all
    effect: grant
    match: {}
    grant: {identity: own}
"""


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[Any]]:
    """What is logged."""
    with captured_logs() as entries:
        yield entries


@pytest.fixture
def rig() -> IssuanceRig:
    """A pipeline that trusts ztunnel, which is proven, beside a pod of shop/web."""
    rig = IssuanceRig(node_proxies=proxies(proxy_pod(), pod(labels={"app": "web"})), burst=3)
    rig.chain.caller = proxy()
    return rig


async def test_issues_the_workloads_identity(rig: IssuanceRig) -> None:
    """The certificate has the workload's identity and the key of the proxy's CSR."""
    leaf = await rig.issue(impersonated_identity=WEB_ID)
    assert uris(leaf) == [WEB_ID]
    assert leaf.public_key() == rig.key.public_key()


async def test_the_ledger_names_both(rig: IssuanceRig) -> None:
    """Who is certified, on which pod, and which account asked for it."""
    await rig.issue(impersonated_identity=WEB_ID)
    (intent,) = rig.ledger.intents.values()
    assert (intent.spiffe_id, intent.namespace, intent.service_account) == (WEB_ID, "shop", "web")
    assert (intent.pod_name, intent.pod_uid, intent.labels) == ("web-1", "w1", {"app": "web"})
    assert (intent.requested_by, intent.proven_by) == ("istio-system/ztunnel", "node_proxy")
    assert (intent.issuer, intent.node_name, intent.token_id) == ("home", "node-1", "JTI=z")


async def test_the_event_names_both(rig: IssuanceRig, logs: list[Any]) -> None:
    """So does the audit event."""
    await rig.issue(impersonated_identity=WEB_ID)
    (line,) = [line for line in logs if line["event"] == "issuance.decided"]
    assert (line["namespace"], line["pod"]) == ("shop", "web-1")
    assert (line["requested_by"], line["requested_by_pod"]) == ("istio-system/ztunnel", "ztunnel-1")


async def test_its_own_identity_as_ever(rig: IssuanceRig) -> None:
    """Without the field the proxy gets its own, and nobody asked for it."""
    assert uris(await rig.issue()) == ["spiffe://cluster.local/ns/istio-system/sa/ztunnel"]
    (intent,) = rig.ledger.intents.values()
    assert (intent.requested_by, intent.proven_by) == ("", "token_review")


async def test_a_refusal_is_opaque(rig: IssuanceRig, logs: list[Any]) -> None:
    """The client learns only that it is not believed; the log has the reason and who asked."""
    with pytest.raises(Unauthenticated) as caught:
        await rig.issue(impersonated_identity="spiffe://cluster.local/ns/shop/sa/api")
    assert (caught.value.reason, caught.value.public) == ("workload_not_on_node", Unauthenticated.public)
    (line,) = [line for line in logs if line["event"] == "issuance.decided"]
    assert (line["result"], line["service_account"]) == ("refused", "ztunnel")
    assert rig.ledger.intents == {}


@pytest.mark.parametrize("account", ["web", "ztunnel"])
async def test_the_brake(rig: IssuanceRig, account: str) -> None:
    """A rule that refuses the workload or its proxy stops it."""
    rig.issuing.use_rules(parse(BRAKE % account, "test", TRUST_DOMAIN))
    with pytest.raises(Denied) as caught:
        await rig.issue(impersonated_identity=WEB_ID)
    assert caught.value.reason == "refused_by_rule"


async def test_the_workloads_quota(rig: IssuanceRig) -> None:
    """It is the workload's buckets that are charged, as for any first issue."""
    for _ in range(3):
        with contextlib.suppress(Exhausted):
            await rig.issue(impersonated_identity=WEB_ID)
    with pytest.raises(Exhausted) as caught:
        await rig.issue(impersonated_identity=WEB_ID)
    assert caught.value.reason == "identity_quota"
    await rig.issue()


async def test_who_asks_for_nobody() -> None:
    """A proxy whose workloads are on no node is Exhausted in the end, and no API server is asked any more."""
    pods = FakePods(proxy_pod(), proxy_pod(name="ztunnel-2", uid="z2"), pod())
    rig = IssuanceRig(node_proxies=proxies(west=pods), burst=1)
    rig.chain.caller = proxy(issuer="west")
    for number in range(PER_ASKER):
        with pytest.raises(Unauthenticated, match="workload_not_on_node"):
            await rig.issue(impersonated_identity=f"spiffe://cluster.local/ns/n{number}/sa/web")
    asked = pods.asked
    with pytest.raises(Exhausted) as caught:
        await rig.issue(impersonated_identity=WEB_ID)
    assert (caught.value.reason, pods.asked) == ("node_proxy_quota", asked)
    rig.chain.caller = proxy(issuer="west", pod=BoundObject(name="ztunnel-2", uid="z2"))
    with pytest.raises(Denied, match="no_rule"):  # another pod's questions are still asked
        await rig.issue(impersonated_identity=WEB_ID)


async def test_pods_that_are_not_known() -> None:
    """While its cluster cannot be asked the proxy is told to try again."""
    pods = FakePods()
    pods.down = Unavailable("kube_unreachable", "the API server cannot be reached")
    rig = IssuanceRig(node_proxies=proxies(west=pods))
    rig.chain.caller = proxy(issuer="west")
    with pytest.raises(Unavailable):
        await rig.issue(impersonated_identity=WEB_ID)

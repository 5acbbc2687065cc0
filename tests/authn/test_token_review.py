"""Callers proven by their cluster, in each mode; tests/e2e/kube/test_token_review.py asks a real one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from meshca.authn.cluster import Cluster, Review
from meshca.authn.token_review import TokenReviewAuthenticator
from meshca.config.kubernetes import TokenReviewConfig
from meshca.errors import MeshcaError, Unauthenticated, Unavailable
from meshca.identity.caller import BoundObject, Caller, Credential, ProvenBy
from meshca.secret import Secret
from tests.fakes.clock import FakeClock
from tests.fakes.cluster import LABELS, FakeCluster, FakeClusters, pod, shown
from tests.fakes.logs import captured_logs
from tests.fakes.tokens import ec_key

MODES = ("review", "local", "pods")
every_mode = pytest.mark.parametrize("mode", MODES)
DOWN = Unavailable("kube_unreachable", "home: the API server cannot be reached")


class Rig:
    """An authenticator for the cluster `home` and a remote one called `east`."""

    def __init__(self, **config: Any) -> None:
        self.clock = FakeClock()
        self.home, self.east = FakeCluster(self.clock), FakeCluster(self.clock, "east")
        self.clusters = FakeClusters(self.home.value, self.east.value)
        self.authenticator = TokenReviewAuthenticator(self.clusters, TokenReviewConfig(**config), self.clock)

    async def prove(self, token: Secret[str] | None = None, cluster: str = "") -> Caller:
        """The caller that a token proves; the usual good one when none is given."""
        return await self.authenticator.prove(shown(token or self.home.token(), cluster))

    async def failure(self, token: Secret[str] | None = None, cluster: str = "") -> MeshcaError:
        """What is raised instead."""
        with captured_logs(), pytest.raises((Unauthenticated, Unavailable)) as caught:
            await self.prove(token, cluster)
        return caught.value

    async def refusal(self, token: Secret[str] | None = None, cluster: str = "") -> str:
        """The reason of a refusal."""
        error = await self.failure(token, cluster)
        assert type(error) is Unauthenticated
        return error.reason


@every_mode
async def test_a_good_token(mode: str) -> None:
    """Proves account, pod, node, id and labels; the labels are the pod's."""
    rig = Rig(mode=mode)
    caller = await rig.prove()
    assert (str(caller.account), caller.issuer, caller.proven_by) == ("shop/web", "home", ProvenBy.TOKEN_REVIEW)
    assert (caller.pod, caller.node) == (
        BoundObject(name="web-0", uid="uid-web"),
        BoundObject(name="node-1", uid="uid-n"),
    )
    assert caller.token_id == "0d8c1c5e-6f9d-4a37-b6f3-2f4b8a3f1c11"
    assert caller.labels == LABELS
    assert (caller.until - caller.proven_at).total_seconds() == 3600
    assert rig.home.reviewer.asked == (0 if mode == "pods" else 1)


async def test_our_audiences_are_sent() -> None:
    """As configured."""
    rig = Rig(audiences=("istio-ca", "mesh"))
    await rig.prove()
    assert list(rig.home.reviewer.audiences) == ["istio-ca", "mesh"]


class TestRefusedBeforeAnythingIsAsked:
    """What no API server could make good costs it nothing."""

    @pytest.mark.parametrize(
        ("token", "reason"),
        [
            ("", "token_malformed"),
            ("garbage", "token_malformed"),
            ("a" * 1_000_000, "token_too_large"),
        ],
        ids=["empty", "garbage", "huge"],
    )
    async def test_form(self, token: str, reason: str) -> None:
        """No token of Kubernetes."""
        rig = Rig()
        assert await rig.refusal(Secret(token)) == reason
        assert rig.home.reviewer.asked == 0

    @pytest.mark.parametrize(
        ("claims", "reason"),
        [
            ({"exp": None}, "token_claims"),
            ({"exp": "tomorrow"}, "token_claims"),
            ({"exp": 10**18}, "token_claims"),
            ({"exp": 1}, "token_expired"),
            ({"nbf": 4_000_000_000}, "token_not_yet_valid"),
        ],
        ids=["no end", "no number", "no time", "ended", "not begun"],
    )
    async def test_times(self, claims: dict[str, Any], reason: str) -> None:
        """It must have an end, and that must be ahead."""
        rig = Rig()
        assert await rig.refusal(rig.home.token(**claims)) == reason
        assert rig.home.reviewer.asked == 0

    async def test_nothing_shown(self) -> None:
        """Is no credential."""
        with pytest.raises(Unauthenticated) as caught:
            await Rig().authenticator.prove(Credential())
        assert caught.value.reason == "no_credential"

    @pytest.mark.parametrize("mode", ["local", "pods"])
    async def test_signature(self, mode: str) -> None:
        """Modes that look at it refuse a forged one themselves."""
        rig = Rig(mode=mode)
        forged = Secret(rig.home.issuer.sign(rig.home.issuer.claims(), key=ec_key(99)))
        assert await rig.refusal(forged) == "token_signature"
        assert rig.home.reviewer.asked == 0

    async def test_leeway_is_the_api_servers(self) -> None:
        """A token that ended 59 s ago is for it to refuse."""
        rig = Rig()
        ended = int(rig.clock.now().timestamp()) - 59
        assert (await rig.prove(rig.home.token(exp=ended))).account.name == "web"


class TestReview:
    """The API server's word."""

    async def test_refused(self) -> None:
        """A forged token."""
        rig = Rig()
        forged = Secret(rig.home.issuer.sign(rig.home.issuer.claims(), key=ec_key(99)))
        assert await rig.refusal(forged) == "token_refused"

    async def test_deleted_account(self) -> None:
        """Mode local asks as well, because a signature outlives its account."""
        for mode in ("review", "local"):
            rig = Rig(mode=mode)
            rig.home.reviewer.spoil = lambda _: Review(authenticated=False, error="has been deleted")
            assert await rig.refusal() == "token_refused"

    async def test_audience_that_is_not_repeated(self) -> None:
        """An authenticator that knows of no audiences has answered."""
        rig = Rig()
        rig.home.reviewer.spoil = lambda review: replace(review, audiences=frozenset())
        assert await rig.refusal() == "token_audience"

    async def test_is_remembered(self) -> None:
        """For as long as configured."""
        rig = Rig(cache="10s")
        token = rig.home.token()
        for seconds, asked in ((0, 1), (9, 1), (2, 2)):
            rig.clock.move(seconds)
            caller = await rig.prove(token)
            assert caller.proven_at == rig.clock.now()
            assert rig.home.reviewer.asked == asked

    async def test_our_failure_is_not_the_callers(self) -> None:
        """Nothing is known of the token then."""
        rig = Rig()
        rig.home.reviewer.down = DOWN
        error = await rig.failure()
        assert (type(error), error.reason) == (Unavailable, "kube_unreachable")


class TestPod:
    """The pod that a token is bound to is looked at whenever the token is used."""

    @every_mode
    @pytest.mark.parametrize(
        ("pods", "reason"),
        [
            ([], "pod_unknown"),
            ([pod(uid="uid-of-its-successor")], "pod_unknown"),
            ([pod(finished=True)], "pod_finished"),
            ([replace(pod("api"), name="web-0", uid="uid-web")], "pod_account"),
        ],
        ids=["deleted", "re-created", "finished", "another account"],
    )
    async def test_that_may_not_speak(self, mode: str, pods: list[Any], reason: str) -> None:
        """Even while the review is remembered."""
        rig = Rig(mode=mode, cache="10s")
        token = rig.home.token()
        await rig.prove(token)
        rig.home.pods.pods = pods
        assert await rig.refusal(token) == reason

    @every_mode
    async def test_that_cannot_be_looked_up(self, mode: str) -> None:
        """Nothing is known of the caller then."""
        rig = Rig(mode=mode)
        rig.home.pods.down = DOWN
        assert type(await rig.failure()) is Unavailable

    async def test_labels_are_those_of_now(self) -> None:
        """An administrator changed them."""
        rig = Rig()
        token = rig.home.token()
        await rig.prove(token)
        rig.home.pods.pods = [pod(labels={"app": "other"})]
        assert (await rig.prove(token)).labels == {"app": "other"}

    @pytest.mark.parametrize("mode", ["review", "local"])
    async def test_a_token_without_one(self, mode: str) -> None:
        """Proves its account, which the default admission rules grant nothing."""
        rig = Rig(mode=mode)
        caller = await rig.prove(rig.home.token(bound=False))
        assert (caller.pod, caller.node, caller.labels) == (None, None, {})

    async def test_mode_pods_sees_nothing_of_a_token_without_one(self) -> None:
        """So it proves nobody."""
        rig = Rig(mode="pods")
        assert await rig.refusal(rig.home.token(bound=False)) == "token_unbound"


class TestClusters:
    """The header picks the reviewer."""

    @every_mode
    async def test_each_has_its_own(self, mode: str) -> None:
        """The caller carries the cluster's name; another cluster's token proves nobody."""
        rig = Rig(mode=mode)
        assert (await rig.prove(rig.east.token(), "east")).issuer == "east"
        assert (await rig.prove(rig.home.token(), "Kubernetes")).issuer == "home"
        foreign = await rig.refusal(rig.east.token(), "")
        assert foreign == ("token_refused" if mode == "review" else "token_signature")

    async def test_one_that_is_not_configured(self) -> None:
        """Proves nobody."""
        assert await Rig().refusal(cluster="west") == "unknown_cluster"

    async def test_answers_are_not_shared(self) -> None:
        """A token that one cluster found good is not good for another."""
        rig = Rig(cache="10s")
        token = rig.east.token()
        await rig.prove(token, "east")
        assert await rig.refusal(token, "") == "token_refused"

    async def test_a_removed_one(self) -> None:
        """Nothing remembered helps its callers."""
        rig = Rig(cache="10s")
        token = rig.east.token()
        await rig.prove(token, "east")
        del rig.clusters.known["east"]
        assert await rig.refusal(token, "east") == "unknown_cluster"

    async def test_a_replaced_one(self) -> None:
        """Nothing remembered of its predecessor is used again."""
        rig = Rig(cache="10s")
        token = rig.east.token()
        await rig.prove(token, "east")
        other = FakeCluster(rig.clock, "west")
        rig.clusters.known["east"] = Cluster(name="east", reviewer=other.reviewer, pods=rig.east.pods)
        assert await rig.refusal(token, "east") == "token_refused"

    async def test_what_is_gone_takes_no_memory(self) -> None:
        """Its prover goes when another comes."""
        rig = Rig()
        await rig.prove(rig.east.token(), "east")
        del rig.clusters.known["east"]
        await rig.prove()
        assert set(rig.authenticator._provers) == {"home"}

    async def test_an_outage_of_one_leaves_the_others(self) -> None:
        """Each has its own limits."""
        rig = Rig()
        rig.east.reviewer.down = DOWN
        with captured_logs():
            for token in rig.east.tokens(20):
                await rig.failure(token, "east")
        assert (await rig.failure(rig.east.token(), "east")).reason == "review_paused"
        assert (await rig.prove()).issuer == "home"


async def test_a_replaced_clusters_keys_are_not_used_again() -> None:
    """Mode pods, where nothing else is asked."""
    rig = Rig(mode="pods")
    token = rig.east.token()
    await rig.prove(token, "east")
    other = FakeCluster(rig.clock, "west")
    rig.clusters.known["east"] = Cluster(name="east", reviewer=other.reviewer, pods=rig.east.pods)
    assert await rig.refusal(token, "east") == "token_signature"

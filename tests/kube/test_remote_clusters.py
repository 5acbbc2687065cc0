"""Facts about remote clusters that come and go."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import cast

import pytest

from meshca.authn.cluster import ClusterState, Reviewer
from meshca.background import running
from meshca.config.kubernetes import KubernetesConfig
from meshca.errors import Unauthenticated, Unavailable
from meshca.kube import remote_clusters
from meshca.kube.api import Api, Forbidden
from meshca.kube.connection import connect_remote
from meshca.kube.kubeconfig_secrets import RESERVED
from meshca.kube.remote_clusters import GRACE, RemoteClusters
from tests.fakes.clock import FakeClock
from tests.fakes.kube_api import FakeApi
from tests.fakes.kubeconfigs import inline_kubeconfig, secret_item
from tests.fakes.logs import captured_logs

SECRETS = "/api/v1/namespaces/meshca/secrets"
CONFIG = KubernetesConfig()


class Rig:
    """Remote clusters whose API servers are in memory; the home cluster's too."""

    def __init__(self) -> None:
        self.home = FakeApi()
        self.clock = FakeClock()
        self.opened: list[str] = []
        self.closed: list[str] = []
        self.reviewers: list[str] = []
        self.remote = RemoteClusters(
            api=self.home,
            namespace="meshca",
            config=CONFIG,
            reserved={"home"},
            clock=self.clock,
            make_reviewer=self.reviewer,
        )

    @contextlib.asynccontextmanager
    async def connect(self, text: bytes, name: str, _: object) -> AsyncIterator[Api]:
        """In the place of the real connection."""
        if text == b"surprise":
            raise RecursionError("deep inside a library")
        async with connect_remote(text, name, CONFIG.timeout):
            self.opened.append(name)
            try:
                yield FakeApi(name)
            finally:
                self.closed.append(name)

    def reviewer(self, api: Api) -> Reviewer:
        """One that is never asked."""
        self.reviewers.append(api.name)
        return cast("Reviewer", None)

    async def put(self, name: str, kubeconfigs: Mapping[str, str], created: str = "2026-01-01T00:00:00Z") -> None:
        """Make or change a Secret."""
        self.home.put(SECRETS, secret_item(name, kubeconfigs, created))
        await self.clock.advance(0)


@pytest.fixture
async def rig(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rig]:
    """A rig that runs."""
    rig = Rig()
    monkeypatch.setattr(remote_clusters, "connect_remote", rig.connect)
    async with running("remote clusters", rig.remote.run, rig.clock):
        await rig.clock.advance(0)
        yield rig


def refused(rig: Rig, name: str) -> str:
    """The reason why there is no such cluster."""
    with pytest.raises((Unauthenticated, Unavailable)) as caught:
        rig.remote.named(name)
    return caught.value.reason


async def test_added(rig: Rig) -> None:
    """A Secret that appears makes its cluster known, with a reviewer of its own."""
    assert refused(rig, "east") == "unknown_cluster"
    await rig.put("s", {"east": inline_kubeconfig()})
    assert (rig.remote.named("east").name, rig.reviewers) == ("east", ["east"])
    assert rig.remote.states == (ClusterState(name="east", secret="s"),)


async def test_removed(rig: Rig) -> None:
    """It is unknown at once; its connection ends when every call on it must have ended."""
    await rig.put("s", {"east": inline_kubeconfig()})
    rig.home.drop(f"{SECRETS}/s")
    await rig.clock.advance(0)
    assert refused(rig, "east") == "unknown_cluster"
    assert rig.closed == []
    await rig.clock.advance(GRACE * CONFIG.timeout.total_seconds())
    assert rig.closed == ["east"]


async def test_changed(rig: Rig) -> None:
    """Another kubeconfig is another connection; an equal one is not."""
    await rig.put("s", {"east": inline_kubeconfig(), "west": inline_kubeconfig()})
    west = rig.remote.named("west")
    await rig.put("s", {"east": inline_kubeconfig("https://127.0.0.1:2"), "west": inline_kubeconfig()})
    assert rig.opened == ["east", "west", "east"]
    assert rig.remote.named("west") is west


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is no kubeconfig"),
        (inline_kubeconfig("http://127.0.0.1:1"), "https"),
        (inline_kubeconfig(**{"certificate-authority": "/etc/passwd"}), "certificate-authority"),
        (inline_kubeconfig().replace("token: t", "exec: {command: id}"), "exec"),
        ("surprise", "RecursionError"),
    ],
    ids=["damaged", "plain text", "a file of ours", "a command", "a surprise"],
)
async def test_a_bad_kubeconfig(rig: Rig, text: str, said: str) -> None:
    """It is reported and logged once; its callers may try again; the others go on; mended, it is followed."""
    with captured_logs() as logs:
        await rig.put("s", {"bad": text, "east": inline_kubeconfig()})
        await rig.put("other", {"west": inline_kubeconfig()})
    assert refused(rig, "bad") == "cluster"
    assert rig.remote.named("east").name == "east"
    (problem,) = [state.problem for state in rig.remote.states if not state.followed]
    assert said in problem
    assert [line["cluster"] for line in logs if line["event"] == "kube.cluster_refused"] == ["bad"]
    await rig.put("s", {"bad": inline_kubeconfig()})
    assert rig.remote.named("bad").name == "bad"


async def test_a_name_of_home(rig: Rig) -> None:
    """A Secret cannot make a cluster that speaks for the home cluster; that is logged once."""
    with captured_logs() as logs:
        await rig.put("s", {"home": inline_kubeconfig()})
        await rig.put("other", {"west": inline_kubeconfig()})
    assert refused(rig, "home") == "unknown_cluster"
    assert rig.opened == ["west"]
    assert [line["detail"] for line in logs if line["event"] == "kube.cluster_refused"] == [RESERVED]
    assert ClusterState(name="home", secret="s", followed=False, problem=RESERVED) in rig.remote.states


async def test_taken_over_when_the_older_secret_goes(rig: Rig) -> None:
    """Only then does a second Secret of the same id count."""
    await rig.put("b", {"east": inline_kubeconfig()})
    await rig.put("a", {"east": inline_kubeconfig("https://127.0.0.1:2")}, "2026-01-02T00:00:00Z")
    assert rig.opened == ["east"]
    rig.home.drop(f"{SECRETS}/b")
    await rig.clock.advance(0)
    assert rig.opened == ["east", "east"]
    assert [state.secret for state in rig.remote.states] == ["a"]


async def test_before_the_secrets_were_read() -> None:
    """Nothing is known of a cluster, so its callers may try again; why is shown."""
    rig = Rig()
    rig.home.down = Forbidden("kube_forbidden", "home: list secrets in meshca: forbidden")
    assert refused(rig, "east") == "cluster"
    async with running("remote clusters", rig.remote.run, rig.clock):
        await rig.clock.advance(0)
        assert refused(rig, "east") == "cluster"
        assert rig.remote.problem == rig.home.down.detail


async def test_closed_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """All connections end with the server, also those that were waiting to."""
    rig = Rig()
    monkeypatch.setattr(remote_clusters, "connect_remote", rig.connect)
    async with running("remote clusters", rig.remote.run, rig.clock):
        await rig.clock.advance(0)
        await rig.put("s", {"east": inline_kubeconfig()})
        await rig.put("s", {"west": inline_kubeconfig()})
    assert sorted(rig.closed) == ["east", "west"]

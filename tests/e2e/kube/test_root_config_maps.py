"""The roots in ConfigMaps of a real cluster: kept, repaired, fought over, and refused one permission at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from meshca.config.kubernetes import KubernetesConfig
from meshca.errors import MeshcaError
from meshca.kube.connection import connect
from meshca.kube.root_config_maps import RootConfigMaps
from tests.e2e.kube.cluster import TestCluster, until
from tests.e2e.kube.publishing import FIRST, INSTALLATION, KEY, NAMESPACES, SECOND, Roots, Rule
from tests.fakes.logs import captured_logs

pytestmark = pytest.mark.real("kubernetes")
REPAIR_SECONDS = 1.0


@pytest.fixture
def roots() -> Roots:
    """A ConfigMap name of the test's own."""
    return Roots()


async def soon(condition: Callable[[], object]) -> None:
    """It holds within the second that is promised for repairs (doubled: the machine is shared)."""
    await until(condition, 2 * REPAIR_SECONDS)


def failing(maps: RootConfigMaps) -> dict[str, str]:
    """Why which namespace fails."""
    kept = maps.report()
    return dict(kept.failing) if kept else {}


class TestKept:
    """Every selected namespace holds the roots."""

    async def test_every_namespace(self, cluster: TestCluster, roots: Roots) -> None:
        """Those that are there, and those that come; with Istio's label and nothing else of ours."""
        before = await cluster.namespace()
        async with roots.publishing(cluster.api):
            await until(lambda: roots.holds(cluster, [before, "kube-system"], FIRST))
            after = await cluster.namespace()
            await soon(lambda: roots.holds(cluster, [after], FIRST))
            made = await roots.found(cluster, after)
            assert made is not None
            assert made["metadata"]["labels"] == {"istio.io/config": "true"}
            assert made["metadata"]["annotations"] == {"meshca.io/written-by": INSTALLATION}
            assert await roots.found(cluster, "kube-public") is None

    async def test_changed_roots(self, cluster: TestCluster, roots: Roots) -> None:
        """Other roots are everywhere within a second."""
        namespaces = [await cluster.namespace() for _ in range(5)]
        async with roots.publishing(cluster.api) as maps:
            await until(lambda: roots.holds(cluster, namespaces, FIRST))
            maps.want(FIRST + SECOND)
            await soon(lambda: roots.holds(cluster, namespaces, FIRST + SECOND))

    async def test_repaired(self, cluster: TestCluster, roots: Roots) -> None:
        """An edit, a lost label and a deletion are undone; what others keep there stays."""
        namespace = await cluster.namespace()
        async with roots.publishing(cluster.api):
            await until(lambda: roots.holds(cluster, [namespace], FIRST))
            await cluster.api.merge(roots.path(namespace), {"data": {KEY: "edited", "theirs": "stays"}})
            await soon(lambda: roots.holds(cluster, [namespace], FIRST))
            assert ((await roots.found(cluster, namespace)) or {})["data"]["theirs"] == "stays"
            await cluster.api.merge(roots.path(namespace), {"metadata": {"labels": {"istio.io/config": None}}})

            async def labelled() -> bool:
                made = await roots.found(cluster, namespace)
                return bool(made and made["metadata"].get("labels"))

            await soon(labelled)
            await cluster.api.delete(roots.path(namespace))
            await soon(lambda: roots.holds(cluster, [namespace], FIRST))

    async def test_quiet(self, cluster: TestCluster, roots: Roots) -> None:
        """What is as it should be is not written, not even by a fresh start."""
        namespace = await cluster.namespace()
        versions = []
        for _ in range(2):
            async with roots.publishing(cluster.api) as maps:
                await until(lambda: (kept := maps.report()) is not None and kept.in_sync > 1 and not kept.pending)
                versions.append(((await roots.found(cluster, namespace)) or {})["metadata"]["resourceVersion"])
        assert versions[0] == versions[1]

    async def test_terminating(self, cluster: TestCluster, roots: Roots) -> None:
        """A namespace that is being deleted is not an error, and not written to."""
        namespace = await cluster.namespace()
        held = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "h", "finalizers": ["example.com/x"]},
        }
        await cluster.api.create(f"/api/v1/namespaces/{namespace}/configmaps", held)
        with captured_logs() as logs:
            async with roots.publishing(cluster.api) as maps:
                await until(lambda: roots.holds(cluster, [namespace], FIRST))
                await cluster.api.delete(f"/api/v1/namespaces/{namespace}")

                async def emptied() -> bool:
                    return await roots.found(cluster, namespace) is None

                await until(emptied)
                await asyncio.sleep(REPAIR_SECONDS)
                assert await roots.found(cluster, namespace) is None
                assert namespace not in failing(maps)
        assert [one for one in logs if one["log_level"] == "error"] == []
        await cluster.api.merge(f"/api/v1/namespaces/{namespace}/configmaps/h", {"metadata": {"finalizers": None}})

    async def test_one_that_is_too_large(self, cluster: TestCluster, roots: Roots) -> None:
        """A ConfigMap without room is named, and the others are served."""
        full, other = await cluster.namespace(), await cluster.namespace()
        big = {"metadata": {"name": roots.name}, "data": {"x": "x" * (1024 * 1024 - 200)}}
        await cluster.api.create(
            f"/api/v1/namespaces/{full}/configmaps", {"apiVersion": "v1", "kind": "ConfigMap", **big}
        )
        async with roots.publishing(cluster.api) as maps:
            await until(lambda: roots.holds(cluster, [other], FIRST))
            await until(lambda: "rejected with 422 (too large)" in failing(maps).get(full, ""))

    async def test_immutable(self, cluster: TestCluster, roots: Roots) -> None:
        """One that cannot be changed is named, too."""
        fixed = await cluster.namespace()
        body = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": roots.name},
            "data": {KEY: "old"},
            "immutable": True,
        }
        await cluster.api.create(f"/api/v1/namespaces/{fixed}/configmaps", body)
        async with roots.publishing(cluster.api) as maps:
            await until(lambda: f"configmaps in {fixed}: rejected with 422" in failing(maps).get(fixed, ""))


class TestRivals:
    """Others who write the same field."""

    async def test_taken_over_once(self, cluster: TestCluster, roots: Roots) -> None:
        """What istiod wrote before is taken, once, and that is said."""
        namespace = await cluster.namespace()
        body = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": roots.name},
            "data": {KEY: "istiod's"},
        }
        await cluster.api.apply(roots.path(namespace), body, manager="pilot-discovery")
        with captured_logs() as logs:
            async with roots.publishing(cluster.api):
                await until(lambda: roots.holds(cluster, [namespace], FIRST))
        taken = [one["manager"] for one in logs if one["event"] == "kube.field_taken_over"]
        assert taken == ["pilot-discovery"]

    async def test_living_root_of_istiod(self, cluster: TestCluster, roots: Roots) -> None:
        """A root that istiod publishes and that lives stays, and is reported; with the switch it is replaced."""
        namespace = await cluster.namespace()
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": roots.name}, "data": {KEY: SECOND}}
        await cluster.api.apply(roots.path(namespace), body, manager="pilot-discovery")
        other = await cluster.namespace()
        async with roots.publishing(cluster.api) as maps:
            await until(lambda: roots.holds(cluster, [other], FIRST))
            await until(lambda: bool((kept := maps.report()) and kept.foreign))
            kept = maps.report()
            assert await roots.holds(cluster, [namespace], SECOND)
        assert kept is not None
        ((name, detail),) = kept.foreign
        assert name == namespace
        assert detail.startswith("holds another living root (sha256 ")
        assert "from pilot-discovery; " in detail
        with captured_logs() as logs:
            async with roots.publishing(cluster.api, replace_foreign=True):
                await until(lambda: roots.holds(cluster, [namespace], FIRST))
        assert [one["manager"] for one in logs if one["event"] == "kube.field_taken_over"] == ["pilot-discovery"]

    async def test_two_installations(self, cluster: TestCluster, roots: Roots) -> None:
        """Of two that keep other roots in one ConfigMap the first to notice names the other and leaves it."""
        namespace = await cluster.namespace()
        with captured_logs() as logs:
            async with (
                roots.publishing(cluster.api, namespaces=(namespace,)) as ours,
                roots.publishing(
                    cluster.api, roots=SECOND, installation="other/meshca-leader", namespaces=(namespace,)
                ) as theirs,
            ):

                def rivals() -> list[tuple[str, str]]:
                    return [one for maps in (ours, theirs) if (kept := maps.report()) for one in kept.foreign]

                await until(rivals)
                before = await roots.found(cluster, namespace)
                await asyncio.sleep(3)
                after = await roots.found(cluster, namespace)
                ((name, rival),) = rivals()
        assert before is not None
        assert after is not None
        assert before["metadata"]["resourceVersion"] == after["metadata"]["resourceVersion"]
        winner = after["metadata"]["annotations"]["meshca.io/written-by"]
        assert name == namespace
        assert f", from another meshca ({winner}); " in rival
        assert len([one for one in logs if one["event"] == "kube.left_to_others"]) == 1

    async def test_istiod_that_fights(self, cluster: TestCluster, roots: Roots) -> None:
        """A writer that takes the field back whenever it changes wins for now, and is named."""
        namespace = await cluster.namespace()
        writes = 0

        async def istiod() -> None:
            nonlocal writes
            while True:
                made = await roots.found(cluster, namespace)
                if made is not None and made["data"].get(KEY) != "istiod's":
                    body = {**made, "data": {KEY: "istiod's"}}
                    try:
                        await cluster.api.replace(roots.path(namespace), body)
                    except MeshcaError:
                        continue
                    writes += 1
                await asyncio.sleep(0.01)

        fighting = asyncio.create_task(istiod())
        try:
            async with roots.publishing(cluster.api, namespaces=(namespace,)) as maps:
                await until(lambda: (kept := maps.report()) is not None and bool(kept.contested))
                settled = writes
                await asyncio.sleep(3)
                kept = maps.report()
        finally:
            fighting.cancel()
            await asyncio.gather(fighting, return_exceptions=True)
        assert writes == settled <= 5
        assert kept is not None
        assert [name for name, _ in kept.contested] == [namespace]
        assert "meshca" not in kept.contested[0][1]


class TestRights:
    """Exactly these permissions are needed, and a missing one is named."""

    async def test_the_whole_cluster_by_one_name(self, cluster: TestCluster, roots: Roots, tmp_path: Path) -> None:
        """One ConfigMap name in all namespaces, and the list of namespaces, are enough."""
        namespace = await cluster.namespace()
        account = await cluster.account(tmp_path, namespace, "all", cluster_rules=[roots.rule(), NAMESPACES])
        async with connect(KubernetesConfig(kubeconfig=account.kubeconfig)) as api, roots.publishing(api) as maps:
            await until(lambda: roots.holds(cluster, [namespace], FIRST))
            await cluster.api.delete(roots.path(namespace))
            await soon(lambda: roots.holds(cluster, [namespace], FIRST))
            assert (failing(maps), maps.watch_errors()) == ({}, ())

    async def test_listed_namespaces(self, cluster: TestCluster, roots: Roots, tmp_path: Path) -> None:
        """With listed namespaces a Role in each of them is enough; one without is named, the others are served."""
        one, two, without = [await cluster.namespace() for _ in range(3)]
        account = await cluster.account(tmp_path, one, "listed", rules={one: [roots.rule()], two: [roots.rule()]})
        async with (
            connect(KubernetesConfig(kubeconfig=account.kubeconfig)) as api,
            roots.publishing(api, namespaces=(one, without, two)) as maps,
        ):
            await until(lambda: roots.holds(cluster, [one, two], FIRST))
            await cluster.api.delete(roots.path(two))
            await soon(lambda: roots.holds(cluster, [two], FIRST))
            await until(lambda: f"get configmaps in {without}: forbidden" in failing(maps).get(without, ""))
            assert [error for error in maps.watch_errors() if f"list configmaps in {without}" in error]

    @pytest.mark.parametrize(
        ("verb", "said"),
        [
            ("create", "create configmaps in {}: forbidden; grant"),
            ("patch", "patch configmaps in {}: forbidden; grant"),
        ],
    )
    async def test_missing_verb(
        self, cluster: TestCluster, roots: Roots, tmp_path: Path, verb: str, said: str
    ) -> None:
        """A write that is not allowed names the verb."""
        namespace = await cluster.namespace()
        rule = roots.rule(verb)
        account = await cluster.account(tmp_path, namespace, verb, rules={namespace: [rule]})
        async with (
            connect(KubernetesConfig(kubeconfig=account.kubeconfig)) as api,
            roots.publishing(api, namespaces=(namespace,)) as maps,
        ):
            await until(lambda: said.format(namespace) in failing(maps).get(namespace, ""))

    @pytest.mark.parametrize("verb", ["list", "watch"])
    async def test_missing_watch(self, cluster: TestCluster, roots: Roots, tmp_path: Path, verb: str) -> None:
        """Without a watch the roots are written all the same, and the verb is named."""
        namespace = await cluster.namespace()
        rule = roots.rule(verb)
        account = await cluster.account(tmp_path, namespace, verb, rules={namespace: [rule]})
        async with (
            connect(KubernetesConfig(kubeconfig=account.kubeconfig)) as api,
            roots.publishing(api, namespaces=(namespace,)) as maps,
        ):
            await until(lambda: roots.holds(cluster, [namespace], FIRST))
            await until(
                lambda: any(f"{verb} configmaps in {namespace}: forb" in one for one in maps.watch_errors())
            )

    @pytest.mark.parametrize("verb", ["list", "watch"])
    async def test_missing_namespaces(self, cluster: TestCluster, roots: Roots, tmp_path: Path, verb: str) -> None:
        """Without the list of namespaces there is nothing to do, and the verb is named."""
        namespace = await cluster.namespace()
        rule: Rule = {**NAMESPACES, "verbs": [one for one in NAMESPACES["verbs"] if one != verb]}
        account = await cluster.account(tmp_path, namespace, verb, cluster_rules=[roots.rule(), rule])
        async with connect(KubernetesConfig(kubeconfig=account.kubeconfig)) as api, roots.publishing(api) as maps:
            await until(lambda: any(f"{verb} namespaces: forbidden" in one for one in maps.watch_errors()))


async def test_many_namespaces_converge(cluster: TestCluster, roots: Roots) -> None:
    """Two hundred namespaces all hold other roots in the end; how fast two thousand do is for `make bench`."""
    namespaces = await asyncio.gather(*(cluster.namespace() for _ in range(200)))
    async with roots.publishing(cluster.api) as maps:
        await until(lambda: (kept := maps.report()) is not None and kept.in_sync >= 200 and not kept.pending, 60)
        maps.want(SECOND)
        await until(lambda: (kept := maps.report()) is not None and kept.in_sync >= 200 and not kept.pending, 60)
        assert await roots.holds(cluster, namespaces[::20], SECOND)

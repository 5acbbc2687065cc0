"""The roots in ConfigMaps, on a cluster in memory; tests/e2e/kube/test_root_config_maps.py has a real one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from meshca.config.kubernetes import RootConfigMapConfig
from meshca.kube.api import Forbidden
from meshca.kube.keeper import LOOK_AGAIN
from meshca.kube.root_config_maps import RootConfigMaps, active
from meshca.svid.good_roots import other_roots
from tests.fakes.clock import FakeClock
from tests.fakes.kube_objects import FakeKube
from tests.fakes.logs import captured_logs
from tests.fakes.pki import DAY, NOW, make_ca

NAME = "istio-ca-root-cert"
OURS, THEIRS, MORE = (make_ca(name).pem for name in ("ours", "theirs", "more"))
ENDED = make_ca("ended", begin=NOW - 2 * DAY, end=NOW - DAY).pem
SOON = make_ca("soon", end=NOW + timedelta(minutes=2)).pem


class Rig:
    """A cluster with two namespaces that count and one that does not."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.kube = FakeKube()
        self.roots = "roots"
        for name in ("a", "b", "kube-public"):
            self.kube.namespace(name)

    @contextlib.asynccontextmanager
    async def running(self, **settings: Any) -> AsyncIterator[RootConfigMaps]:
        """ConfigMaps that are kept inside the block."""
        config = RootConfigMapConfig(enabled=True, **settings)
        maps = RootConfigMaps(self.kube.api, config, lambda: None, "meshca/meshca-leader", self.clock)
        maps.want(self.roots)
        with captured_logs():
            task = asyncio.create_task(maps.run())
            await self.clock.advance(1)
            yield maps
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def holds(self, text: str, manager: str = "pilot-discovery", **annotations: str) -> None:
        """Somebody published this in the namespace a before."""
        metadata = {"name": NAME, "namespace": "a", "annotations": annotations}
        await self.kube.api.apply(
            path("a"), {"metadata": metadata, "data": {"root-cert.pem": text}}, manager=manager
        )

    def texts(self, *namespaces: str, key: str = "root-cert.pem") -> list[str | None]:
        """What they hold."""
        return [self.kube.text(path(namespace), key) for namespace in namespaces]


def path(namespace: str, name: str = NAME) -> str:
    """Of a ConfigMap."""
    return f"/api/v1/namespaces/{namespace}/configmaps/{name}"


@pytest.fixture
def rig() -> Rig:
    """A cluster."""
    return Rig()


async def test_selected(rig: Rig) -> None:
    """All namespaces but the excepted ones; also one that comes later."""
    async with rig.running():
        rig.kube.namespace("c")
        await rig.clock.advance(1)
        assert rig.texts("a", "b", "c", "kube-public") == ["roots", "roots", "roots", None]


async def test_name_and_key(rig: Rig) -> None:
    """Both can be configured."""
    async with rig.running(name="trust", key="ca.pem"):
        assert rig.kube.text(path("a", "trust"), "ca.pem") == "roots"


async def test_what_is_applied(rig: Rig) -> None:
    """Istio's label, our name, and the roots."""
    async with rig.running():
        made = await rig.kube.api.get(path("a"))
    assert made["metadata"]["labels"] == {"istio.io/config": "true"}
    assert made["metadata"]["annotations"] == {"meshca.io/written-by": "meshca/meshca-leader"}
    assert made["data"] == {"root-cert.pem": "roots"}


async def test_other_roots(rig: Rig) -> None:
    """They are followed."""
    async with rig.running() as maps:
        maps.want("others")
        await rig.clock.advance(1)
        assert rig.texts("a", "b") == ["others", "others"]


async def test_repaired(rig: Rig) -> None:
    """Edits and deletions are undone."""
    async with rig.running():
        rig.kube.edit(path("a"), "them", "root-cert.pem", "edited")
        await rig.kube.api.delete(path("b"))
        await rig.clock.advance(1)
        assert rig.texts("a", "b") == ["roots", "roots"]


async def test_terminating(rig: Rig) -> None:
    """A namespace on its way to deletion is left alone."""
    async with rig.running() as maps:
        rig.kube.namespace("a", terminating=True)
        await rig.clock.advance(1)
        await rig.kube.api.delete(path("a"))
        await rig.clock.advance(100)
        assert rig.texts("a") == [None]
        kept = maps.report()
    assert kept is not None
    assert (kept.in_sync, kept.pending, kept.failing) == (1, 0, ())


async def test_listed(rig: Rig) -> None:
    """With listed namespaces nothing is asked of the others, nor of the cluster; excepted ones stay so."""
    for everything in ("/api/v1/configmaps", "/api/v1/namespaces"):
        rig.kube.refusing[everything] = Forbidden("kube_forbidden", "home: list: forbidden")
    async with rig.running(namespaces=("a", "kube-public", "a", "later")) as maps:
        assert rig.texts("a", "b", "kube-public") == ["roots", None, None]
        assert maps.watch_errors() == ()
        rig.kube.namespace("later")
        await rig.clock.advance(200)
        assert rig.texts("later") == ["roots"]
        await rig.kube.api.delete(path("a"))
        await rig.clock.advance(1)
        assert rig.texts("a") == ["roots"]


async def test_blind(rig: Rig) -> None:
    """Without a watch the roots are written, and why there is none is shown."""
    rig.kube.refusing["/api/v1/configmaps"] = Forbidden("kube_forbidden", "home: list configmaps: forbidden")
    async with rig.running() as maps:
        assert rig.texts("a", "b") == ["roots", "roots"]
        assert maps.watch_errors() == ("home: list configmaps: forbidden",)


async def test_report_of_a_follower(rig: Rig) -> None:
    """Who does not run has nothing to say."""
    maps = RootConfigMaps(rig.kube.api, RootConfigMapConfig(), lambda: None, "a/b", rig.clock)
    maps.want("roots")
    assert maps.report() is None
    assert maps.watch_errors() == ()


class TestForeign:
    """What somebody else published before us."""

    @pytest.fixture
    def rig(self) -> Rig:
        """A cluster, and a root of ours."""
        made = Rig()
        made.roots = OURS
        return made

    @pytest.mark.parametrize("text", [THEIRS, OURS + THEIRS, ENDED + THEIRS])
    async def test_living_root_stays(self, rig: Rig, text: str) -> None:
        """A living root that is none of ours is not replaced; it is told whose it is and what to do."""
        await rig.holds(text)
        async with rig.running() as maps:
            await rig.clock.advance(LOOK_AGAIN + 1)
            assert rig.texts("a", "b") == [text, OURS]
            kept = maps.report()
        assert kept is not None
        ((name, detail),) = kept.foreign
        (other,) = other_roots(text, OURS, NOW)
        assert name == "a"
        assert detail.startswith(f"holds another living root (sha256 {other}), from pilot-discovery; ")
        assert "kubernetes.root_config_map.replace_foreign" in detail
        assert (kept.in_sync, kept.pending, kept.failing, kept.contested) == (1, 0, (), ())

    async def test_several(self, rig: Rig) -> None:
        """Of several the first is named and the others are counted; another meshca is named as such."""
        await rig.holds(THEIRS + MORE, "meshca", **{"meshca.io/written-by": "other/meshca-leader"})
        async with rig.running() as maps:
            kept = maps.report()
        assert kept is not None
        assert " and 1 more, from another meshca (other/meshca-leader); " in kept.foreign[0][1]

    async def test_switch(self, rig: Rig) -> None:
        """Whoever says so has it replaced."""
        await rig.holds(THEIRS)
        async with rig.running(replace_foreign=True):
            assert rig.texts("a") == [OURS]

    @pytest.mark.parametrize("text", ["", "junk", ENDED, OURS, f"# ours\n{OURS}"])
    async def test_nothing_to_lose(self, rig: Rig, text: str) -> None:
        """Junk, an ended root and our own ones in another shape are replaced."""
        await rig.holds(text)
        async with rig.running() as maps:
            assert rig.texts("a") == [OURS]
            kept = maps.report()
        assert kept is not None
        assert kept.foreign == ()

    async def test_our_own_change(self, rig: Rig) -> None:
        """What this installation wrote is replaced by other roots of it, also after a restart."""
        await rig.holds(THEIRS, "meshca", **{"meshca.io/written-by": "meshca/meshca-leader"})
        async with rig.running() as maps:
            assert rig.texts("a") == [OURS]
            maps.want(MORE)
            await rig.clock.advance(1)
            assert rig.texts("a", "b") == [MORE, MORE]

    @pytest.mark.parametrize("namespaces", [(), ("a",)])
    async def test_blind(self, rig: Rig, namespaces: tuple[str, ...]) -> None:
        """Without a watch each is looked at before the first write."""
        for everything in ("/api/v1/configmaps", "/api/v1/namespaces/a/configmaps"):
            rig.kube.refusing[everything] = Forbidden("kube_forbidden", "home: list configmaps: forbidden")
        await rig.holds(THEIRS, "meshca", **{"meshca.io/written-by": "other/meshca-leader"})
        async with rig.running(namespaces=namespaces):
            assert rig.texts("a") == [THEIRS]

    async def test_published_before_our_answer(self, rig: Rig) -> None:
        """One that comes between our look and our write is found by the conflict, and stays."""
        apply = rig.kube.apply

        async def overtaken(path: str, body: Any, *, manager: str, force: bool = False) -> Any:
            rig.kube.apply = apply  # type: ignore[method-assign]
            await rig.holds(THEIRS)
            return await apply(path, body, manager=manager, force=force)

        rig.kube.apply = overtaken  # type: ignore[method-assign]
        async with rig.running(namespaces=("a",)):
            assert rig.texts("a") == [THEIRS]

    @pytest.mark.parametrize("way", ["deleted", "ours too", "ended"])
    async def test_over(self, rig: Rig, way: str) -> None:
        """Once it is gone, among ours, or ended, ours are written, and nothing is said of it any more."""
        await rig.holds(SOON)
        async with rig.running() as maps:
            assert rig.texts("a") == [SOON]
            if way == "deleted":
                await rig.kube.api.delete(path("a"))
            elif way == "ours too":
                maps.want(OURS + SOON)
            await rig.clock.advance(LOOK_AGAIN + 1 if way == "ended" else 1)
            assert rig.texts("a") == [OURS + SOON if way == "ours too" else OURS]
            kept = maps.report()
        assert kept is not None
        assert (kept.in_sync, kept.foreign) == (2, ())


@pytest.mark.parametrize(
    ("item", "found"),
    [
        ({"metadata": {}}, True),
        ({"metadata": {}, "status": {"phase": "Active"}}, True),
        ({"metadata": {}, "status": {"phase": "Terminating"}}, None),
        ({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}, "status": {"phase": "Active"}}, None),
    ],
)
def test_active(item: dict[str, Any], found: bool | None) -> None:  # noqa: FBT001 - a row
    """A namespace counts until it is being deleted."""
    assert active(item) is found

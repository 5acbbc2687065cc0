"""What one replica does for a cluster, put together; tests/e2e/kube/test_server.py runs all of it."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from meshca import metrics
from meshca.app.controllers import Controllers, controlling, is_needed
from meshca.app.in_force import InForce
from meshca.app.istiod_certificate import IstiodCertificate
from meshca.app.publication import Publication
from meshca.authority.material import certificate_id
from meshca.authority.serials import Serials
from meshca.authority.signing import Authority
from meshca.config.kubernetes import KubernetesConfig
from meshca.config.server import ServerConfig
from meshca.errors import ConfigError, Unavailable
from meshca.kube.kept import Kept
from meshca.kube.lease import Election
from meshca.kube.root_config_maps import RootConfigMaps
from meshca.kube.trust_bundle import TrustBundle
from meshca.rotation.driver import Rotation
from meshca.rotation.progress import Progress
from tests.fakes.clock import FakeClock
from tests.fakes.ledger import FakeLedger
from tests.fakes.logs import captured_logs
from tests.fakes.pki import DAY, NOW, good_slot, make_ca
from tests.fakes.profiles import PROFILE

GOOD_CA = make_ca("good", end=NOW + timedelta(minutes=2))
GOOD, OTHER, GOOD_ID = GOOD_CA.pem, make_ca("other").pem, certificate_id(GOOD_CA.certificate)
EXPIRED = make_ca("old", begin=NOW - 2 * DAY, end=NOW - DAY).pem


class Part:
    """A keeper of the roots, or of istiod's certificate."""

    def __init__(self, kept: Kept | None = None) -> None:
        self.wanted: list[str] = []
        self.kept = kept
        self.version, self.absent = "v1", False
        self.blind: tuple[str, ...] = ("no watch",)
        self.name, self.not_after, self.error = "istio-system/istiod-tls", NOW, "broken"
        self.told = 0

    def want(self, text: str) -> None:
        """Remember."""
        if self.wanted[-1:] != [text]:
            self.wanted.append(text)

    def signer_changed(self) -> None:
        """Remember."""
        self.told += 1

    def report(self) -> Kept | None:
        """As the test has set it."""
        return self.kept

    def watch_errors(self) -> tuple[str, ...]:
        """As the test has set them."""
        return self.blind


class Leading:
    """An election that is won, unless a test says otherwise."""

    holder, error = "me", Unavailable("kube_unreachable", "home: gone")
    won = True

    def leading(self) -> bool:
        """As the test has set it."""
        return self.won


class Holder:
    """What is in force."""

    authority: Any = None


class Rig:
    """Controllers of parts that only remember."""

    def __init__(self, kept: Kept | None = None, *, apart: bool = False) -> None:
        self.election = Leading()
        self.clock = FakeClock()
        self.maps, self.bundle, self.istiod = Part(kept), Part(kept), Part()
        self.authority = Authority(Serials(1), PROFILE)
        self.publication = Publication(self.clock)
        self.in_force = Holder()
        self.rotation = Holder()
        self.rotation.progress = Progress()  # type: ignore[attr-defined] # as a rotation has it
        self.controllers = Controllers(
            election=cast("Election", self.election),
            maps=cast("RootConfigMaps", self.maps),
            bundle=cast("TrustBundle", self.bundle),
            istiod=cast("IstiodCertificate", self.istiod),
            authority=self.authority,
            publication=self.publication,
            clock=self.clock,
            apart=apart,
        )

    def use(self, roots: str) -> None:
        """These roots are in force."""
        self.in_force.authority = type("Roots", (), {"roots": roots})

    async def follow(self, seconds: float) -> None:
        """For so long."""
        following = self.controllers.follow(cast("InForce", self.in_force), cast("Rotation", self.rotation))
        task = asyncio.create_task(following)
        await self.clock.advance(seconds)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_roots_are_followed() -> None:
    """Everywhere, within a second of coming into force."""
    rig = Rig()
    await rig.follow(1)
    assert rig.maps.wanted == []
    rig.use(GOOD)
    await rig.follow(0.5)
    rig.use(GOOD + OTHER)
    await rig.follow(0.5)
    assert rig.maps.wanted == rig.bundle.wanted == [GOOD, GOOD + OTHER]


def test_bad_ones_are_left_out() -> None:
    """They are counted and told once, and hide none."""
    rig = Rig()
    with captured_logs() as logs:
        rig.controllers.use_roots(EXPIRED + GOOD)
        rig.controllers.use_roots(EXPIRED + GOOD)
    assert rig.maps.wanted == [GOOD]
    assert [one["event"] for one in logs] == ["roots.left_out"]
    assert metrics.roots_left_out._value.get() == 1
    assert "certificate 1 ended" in rig.controllers.report().left_out[0]


def test_nothing_good() -> None:
    """What is published stays."""
    rig = Rig()
    with captured_logs():
        rig.controllers.use_roots(EXPIRED)
    assert rig.maps.wanted == []


async def test_a_root_that_ends_is_left_out_then() -> None:
    """Also while nothing else changes."""
    rig = Rig()
    rig.use(GOOD + OTHER)
    with captured_logs():
        await rig.follow(2 * 60 + 61)
    assert rig.maps.wanted == [GOOD + OTHER, OTHER]


async def test_signer_is_followed() -> None:
    """What is made for istiod is signed by the one in force."""
    rig = Rig()
    slot = good_slot()
    rig.rotation.progress = Progress(slot=slot)  # type: ignore[attr-defined] # as above
    await rig.follow(1)
    assert rig.authority.current() is rig.authority.current_serving() is slot
    assert rig.istiod.told == 1


async def test_serving_line_is_followed() -> None:
    """While a root is changed istiod's certificate stays below the old one, and follows when that goes."""
    rig = Rig()
    old, new = good_slot(), good_slot()
    for slot, serving in ((old, old), (new, old), (new, new)):
        rig.rotation.progress = Progress(slot=slot, serving=serving)  # type: ignore[attr-defined] # as above
        task = asyncio.create_task(
            rig.controllers.follow(cast("InForce", rig.in_force), cast("Rotation", rig.rotation))
        )
        await rig.clock.advance(1)
        assert (rig.authority.current(), rig.authority.current_serving()) == (slot, serving)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert rig.istiod.told == 3


class TestPublication:
    """What gates are told of the published roots."""

    WELL = Kept(in_sync=2, pending=0)

    async def rig(self, maps: Kept | None, bundle: Kept | None, *blind: str, absent: bool = False) -> Rig:
        """Followed for a second."""
        rig = Rig()
        rig.maps.kept, rig.bundle.kept, rig.bundle.absent = maps, bundle, absent
        rig.maps.blind = rig.bundle.blind = blind
        rig.use(GOOD)
        await rig.follow(1)
        return rig

    async def test_everywhere(self) -> None:
        """Told by every place that is configured."""
        rig = await self.rig(self.WELL, self.WELL)
        assert rig.publication.published_since(GOOD_ID) == NOW

    @pytest.mark.parametrize(
        ("maps", "bundle", "blind"),
        [
            (None, WELL, ()),
            (WELL, None, ()),
            (WELL, Kept(in_sync=0, pending=1), ()),
            (WELL, WELL, ("no watch",)),
        ],
        ids=["maps-by-another", "bundle-by-another", "pending", "blind"],
    )
    async def test_in_doubt(self, maps: Kept | None, bundle: Kept | None, blind: tuple[str, ...]) -> None:
        """One that does not hold the roots, or is not known to, is enough."""
        rig = await self.rig(maps, bundle, *blind)
        assert rig.publication.published_since(GOOD_ID) is None

    async def test_no_such_api(self) -> None:
        """Nobody reads a ClusterTrustBundle where there are none."""
        rig = await self.rig(self.WELL, None, absent=True)
        assert rig.publication.published_since(GOOD_ID) == NOW


async def test_gauges() -> None:
    """How many objects are how; none while another replica writes."""
    kept = Kept(in_sync=5, pending=4, failing=(("a", "x"),), contested=(("b", "y"),), foreign=(("c", "z"),))
    rig = Rig(kept)
    for expected in ([5, 4, 1, 2], [0, 0, 0, 0]):
        task = asyncio.create_task(rig.controllers.show())
        await rig.clock.advance(1)
        task.cancel()
        states = ("in_sync", "pending", "failing", "contested")
        assert [metrics.published_objects.labels("config_map", one)._value.get() for one in states] == expected
        rig.maps.kept = None


def test_report() -> None:
    """Everything, with what is in the way."""
    kept = Kept(
        in_sync=5,
        pending=0,
        failing=(("a", "x"),),
        contested=(("b", "y"),),
        foreign=(("c", "holds z"),),
        error="gone",
    )
    told = Rig(kept).controllers.report()
    assert (told.leading, told.holder, told.election_error) == (True, "me", "home: gone")
    assert told.config_maps is not None
    assert [(one.name, one.detail) for one in told.config_maps.problems] == [
        ("c", "holds z"),
        ("a", "x"),
        ("b", "changed again and again by y"),
    ]
    assert told.config_maps.error == "no watch; gone"
    assert (told.bundle_version, told.istiod_secret, told.istiod_error) == (
        "v1",
        "istio-system/istiod-tls",
        "broken",
    )


@pytest.mark.parametrize(
    ("apart", "won", "holder", "rival"),
    [(True, False, "other", "other"), (True, True, "me", ""), (True, False, "", ""), (False, False, "other", "")],
    ids=["another leads", "we lead", "nobody leads", "one store"],
)
def test_a_rival(*, apart: bool, won: bool, holder: str, rival: str) -> None:
    """Another replica that leads, where they share no store."""
    rig = Rig(apart=apart)
    rig.election.won, rig.election.holder = won, holder
    assert rig.controllers.report().rival == rival


async def test_a_rival_is_told_once() -> None:
    """Loudly; and again when it is another one."""
    rig = Rig(apart=True)
    rig.election.won = False
    with captured_logs() as logs:
        task = asyncio.create_task(rig.controllers.show())
        await rig.clock.advance(5)
        rig.election.holder = "other"
        await rig.clock.advance(5)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    told = [(line["log_level"], line["rival"]) for line in logs if line["event"] == "store.not_shared"]
    assert told == [("error", "me"), ("error", "other")]


@pytest.mark.parametrize("part", ["root_config_map", "cluster_trust_bundle", "istiod_certificate"])
def test_needed(part: str) -> None:
    """Any of the three needs a leader."""
    assert is_needed(KubernetesConfig.model_validate({part: {"enabled": True}}))


@pytest.mark.parametrize("kubernetes", [None, KubernetesConfig()])
async def test_not_configured(kubernetes: KubernetesConfig | None) -> None:
    """Without any of them nothing is connected, and nobody stands for election."""
    config, clock = ServerConfig(kubernetes=kubernetes), FakeClock()
    none: Any = None
    async with controlling(config, none, none, none, FakeLedger(clock), clock) as controllers:
        assert controllers is None


async def test_own_namespace_is_needed(tmp_path: Path) -> None:
    """Where the lease lies must be known; the key to set is named."""
    file = tmp_path / "kubeconfig"
    file.write_text("{}")
    kubernetes = KubernetesConfig.model_validate({"kubeconfig": file, "root_config_map": {"enabled": True}})
    none: Any = None
    with pytest.raises(ConfigError, match=r"kubernetes\.namespace"):
        async with controlling(ServerConfig(kubernetes=kubernetes), none, none, none, none, FakeClock()):
            pass

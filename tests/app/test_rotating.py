"""How the parts of rotation are put together: by the configuration, over a real store."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from meshca.app.publication import Publication
from meshca.app.rotating import Rotating, is_apart, rotating, terms_of
from meshca.authority.history import Kind
from meshca.authority.lifecycle import State
from meshca.config.kubernetes import ClusterTrustBundleConfig, KubernetesConfig, RootConfigMapConfig
from meshca.config.rotation import RotationConfig
from meshca.config.server import ServerConfig, SvidConfig
from meshca.config.upstream import FilesConfig, SecretConfig, SelfSignedConfig
from meshca.rotation.commands import Asked
from meshca.rotation.standing import Standing
from meshca.store.engine import Store, open_store
from tests.fakes.clock import FakeClock
from tests.fakes.pki import DAY, NOW, good_material, make_ca
from tests.fakes.roots import MINUTE
from tests.fakes.upstream import FakeUpstream

ANNA = Asked(by="uid 0", reason="yearly")


class Scene:
    """What `rotating` made, what it published, and who writes to the cluster."""

    def __init__(self, config: ServerConfig, store: Store) -> None:
        self.published: list[Standing] = []
        self.publication = Publication(FakeClock(NOW))
        self.made: Rotating = rotating(
            config,
            upstream=FakeUpstream(good_material(root=make_ca("root", begin=NOW, end=NOW + 40 * DAY))),
            store=store,
            clock=FakeClock(NOW),
            publish=self._publish,
            publication=self.publication,
        )

    async def _publish(self, standing: Standing) -> None:
        self.published.append(standing)


@pytest.mark.parametrize(
    ("upstream", "begins"),
    [
        (SelfSignedConfig(), True),
        (FilesConfig(kind="files", dir=Path("/ca")), False),
        (SecretConfig(kind="secret"), True),
    ],
    ids=["ours", "files", "secret"],
)
async def test_parts_that_work_together(
    tmp_path: Path, upstream: SelfSignedConfig | FilesConfig | SecretConfig, *, begins: bool
) -> None:
    """What is published is what is kept; where roots are made here, they are replaced by schedule."""
    config = ServerConfig(
        replica="one",
        upstream=upstream,
        kubernetes=KubernetesConfig(),
        rotation=RotationConfig(before_end=timedelta(days=50) if begins else None),
    )
    async with open_store(f"sqlite:///{tmp_path / 'meshca.db'}", FakeClock(NOW), migrate=True) as store:
        scene = Scene(config, store)
        await scene.made.rotation.start()
        kept = await scene.made.acts.lifecycle()
        assert {one.replica for one in kept.of(Kind.INTERMEDIATE)} == {"one"}
        slot = scene.made.rotation.progress.slot
        assert slot is not None
        assert slot.issuer.certificate == scene.published[-1].signer.certificate
        assert (len(kept.of(Kind.ROOT)) == 2) is begins


async def test_who_does_not_lead_takes_no_step(tmp_path: Path) -> None:
    """What an administrator asks for is kept all the same; whoever leads goes on with it."""
    async with open_store(f"sqlite:///{tmp_path / 'meshca.db'}", FakeClock(NOW), migrate=True) as store:
        scene = Scene(ServerConfig(), store)
        scene.publication.note("", (None,))  # another replica publishes
        await scene.made.rotation.start()
        await scene.made.acts.rotate(ANNA, compromised=False, window=None)
        states = [one.state for one in (await scene.made.acts.lifecycle()).of(Kind.ROOT)]
        assert states == [State.ACTIVE, State.DISTRIBUTING]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (RotationConfig(), timedelta(hours=24)),
        (RotationConfig(seen_within=timedelta(hours=36)), timedelta(hours=36)),
    ],
    ids=["by-lifetime", "stated"],
)
async def test_who_counts(tmp_path: Path, config: RotationConfig, expected: timedelta) -> None:
    """Whoever was seen while a certificate of the longest lifetime lives, unless it is said otherwise."""
    async with open_store(f"sqlite:///{tmp_path / 'meshca.db'}", FakeClock(NOW), migrate=True) as store:
        scene = Scene(ServerConfig(rotation=config, svid=SvidConfig()), store)
        await scene.made.rotation.start()
        report = await scene.made.acts.report()
    assert report.fleet is not None
    assert NOW - report.fleet.seen_since == expected


@pytest.mark.parametrize(
    ("kubernetes", "expected"),
    [
        (None, timedelta(0)),
        (KubernetesConfig(), timedelta(0)),
        (KubernetesConfig(root_config_map=RootConfigMapConfig(enabled=True)), 7 * MINUTE),
        (KubernetesConfig(cluster_trust_bundle=ClusterTrustBundleConfig(enabled=True)), 7 * MINUTE),
    ],
    ids=["no-cluster", "nothing-published", "config-map", "trust-bundle"],
)
def test_published_roots_are_waited_for_where_they_are_published(
    kubernetes: KubernetesConfig | None, expected: timedelta
) -> None:
    """Nobody knows who reads them; where nobody can, nothing is waited for."""
    rotation = RotationConfig(share=0.9, settle=3 * MINUTE, published_for=7 * MINUTE)
    terms = terms_of(ServerConfig(kubernetes=kubernetes, rotation=rotation))
    assert (terms.share, terms.settle, terms.published_for) == (0.9, 3 * MINUTE, expected)


@pytest.mark.parametrize(
    ("config", "apart"),
    [
        ({}, True),
        ({"ledger": {"url": "postgresql://meshca@db/meshca"}}, False),
        ({"upstream": {"kind": "secret"}, "kubernetes": {}}, True),
        ({"upstream": {"kind": "secret", "rotate": False}, "kubernetes": {}}, False),
    ],
    ids=["sqlite", "postgresql", "secret", "a secret whose root stays"],
)
def test_who_is_apart(config: dict[str, Any], *, apart: bool) -> None:
    """Who changes roots by a store that nobody shares."""
    assert is_apart(ServerConfig.model_validate(config)) is apart
